#!/bin/sh
# Run the tests of the C module against a build with the address and undefined-behaviour sanitizers, made in a
# temporary copy so that the checkout keeps its own build. PYTHON names an interpreter with the development
# dependencies, setuptools and cffi (default: python3); more arguments go to pytest.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
copy=$(mktemp -d "${TMPDIR:-/tmp}/asan-native.XXXXXX")
trap 'rm -rf "$copy"' EXIT

mkdir -p "$copy/appliance" "$copy/tests/zeek"
cp "$root/pyproject.toml" "$root/LICENSE" "$root"/README* "$copy/" 2>/dev/null || :
cp -R "$root/native" "$copy/"
cp "$root/appliance/__init__.py" "$root/appliance/errors.py" "$copy/appliance/"
cp -R "$root/appliance/native" "$root/appliance/zeek" "$copy/appliance/"
cp "$root/tests/__init__.py" "$copy/tests/"
cp -R "$root/tests/native" "$root/tests/golden" "$copy/tests/"
cp "$root/tests/zeek/__init__.py" "$root/tests/zeek/strategies.py" "$copy/tests/zeek/"
cd "$copy"

BROAPPLIANCE_SANITIZE=1 BROAPPLIANCE_WERROR=1 "$python" -W ignore -c 'import setuptools; setuptools.setup()' \
    -q build_ext --inplace

# Python is not built with the sanitizer, so its runtime goes in first; Python's own leaks are not the question here.
run() {
    LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" \
        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
        PYTHONPATH="$copy" PYTHONDONTWRITEBYTECODE=1 "$python" "$@"
}

# An installed appliance must not be what is tested.
run -c 'import sys, appliance._native as n; sys.exit(not n.__file__.startswith(sys.argv[1]))' "$copy"
run -m pytest -p no:cacheprovider tests/native "$@"
