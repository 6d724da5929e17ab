#!/bin/sh
# What must come from Debian before pip can do the rest. As root the missing packages are installed, else the one
# command that installs them is named.
#   prerequisites.sh build    to build and run
#   prerequisites.sh test     to test
#   prerequisites.sh browser  to test the page, too: 100 MB
#   prerequisites.sh packages        to make packages
#   prerequisites.sh package-test    to look into them, and to install them in a small system
#   prerequisites.sh install-test    the same, and to boot some
set -eu
python=${PYTHON:-python3}
missing=

need() { # need PACKAGE TEST...
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

case ${1:-build} in
build)
    need python3 "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'
    need python3-venv "$python" -c 'import ensurepip, venv'
    need python3-dev "$python" -c 'import os, sysconfig; os.stat(os.path.join(sysconfig.get_paths()["include"], "Python.h"))'
    need gcc sh -c 'command -v gcc'
    need libc6-dev sh -c 'echo "#include <stdint.h>" | gcc -E - || ! command -v gcc'
    ;;
test)
    need tshark sh -c 'command -v tshark && command -v capinfos && command -v editcap'
    need tcpdump sh -c 'command -v tcpdump'
    need tcpreplay sh -c 'command -v tcpreplay'
    need iproute2 sh -c 'command -v ip'
    need libpcap0.8 "$python" -c 'import ctypes; ctypes.CDLL("libpcap.so.0.8")'
    ;;
browser)
    need chromium sh -c 'command -v chromium || command -v chromium-browser || command -v google-chrome'
    ;;
packages)
    need binutils sh -c 'command -v objdump'
    need dpkg sh -c 'command -v dpkg-query'
    ;;
package-test | install-test)
    need debootstrap sh -c 'command -v debootstrap'
    need iproute2 sh -c 'command -v ip'
    need lintian sh -c 'command -v lintian'
    need rpm sh -c 'command -v rpm'
    need rpmlint sh -c 'command -v rpmlint'
    [ "$1" = package-test ] || need systemd-container sh -c 'command -v systemd-nspawn'
    ;;
esac
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing$missing ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of packages
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
    echo "missing system packages; install them and try again:" >&2
    echo "  sudo apt-get install -y$missing" >&2
    exit 1
fi
