#!/bin/sh
# Fuzz each parser for SECONDS (default 60) with libFuzzer and the address and undefined-behaviour sanitizers.
# Exits non-zero on a finding; the input that shows it is left in the directory named at the end.
set -eu

seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
native=$(dirname "$here")
clang=${CLANG:-clang}

if ! command -v "$clang" >/dev/null; then
    echo "clang is missing: apt-get install clang libclang-rt-14-dev (or the version that goes with your clang)" >&2
    exit 2
fi

build=$(mktemp -d "${TMPDIR:-/tmp}/fuzz-native.XXXXXX")

flags="-std=c11 -g -O1 -fno-omit-frame-pointer -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined"

seed() { # seed TARGET NAME PRINTF-FORMAT
    mkdir -p "$build/$1.corpus"
    printf "$3" >"$build/$1.corpus/$2"
}

seed json_row flat '{"_node":"w-1","_seq":12,"ts":1.5e-3,"a":[true,false,null,-0,{}],"b":{"c":[]}}'
seed json_row text '{"k":"\\u00e4 \\" \\\\ \\n \303\244 \342\202\254 \360\237\220\247 plain text that is longer"}'
seed json_row again ' { "_node" : "a" , "_node" : 1 , "_seq" : 18446744073709551615 } '
seed logwriter pair '\001\004conn\000\031{"_node":"w1","_seq":3,"":1}'
seed logwriter pairs '\001\004conn\000\002{}\001\003dns\002\002{}\001\004conn\000\002{}'
seed logwriter bad '\001\004conn\001\002{}\000\002{}\000\004conn\001\003a/b\000\002{}\001\004conn\000\002[]'
header='\002\000\004\000\000\000\000\000\000\000\000\000\000\000\004\000\001\000\000\000'
record='\001\000\000\000\002\000\000\000\003\000\000\000\003\000\000\000abc'
seed pcap_scan nano "\115\074\262\241$header$record$record"
seed pcap_scan micro "\324\303\262\241$header$record"
seed pcap_scan swapped '\241\262\303\324\000\002\000\004\000\000\000\000\000\000\000\000\000\004\000\000\000\000\000\001'

fuzz() { # fuzz TARGET MAX_LEN SOURCE...
    target=$1 max_len=$2
    shift 2
    if ! (cd "$native" && "$clang" $flags -I. "fuzz/fuzz_$target.c" "$@" -o "$build/$target") 2>"$build/$target.log"; then
        cat "$build/$target.log" >&2
        echo "cannot build; if the sanitizer's library is missing: apt-get install libclang-rt-14-dev (match clang)" >&2
        exit 2
    fi
    echo "== $target, $seconds s"
    if ! (cd "$build" && "./$target" -max_total_time="$seconds" -max_len="$max_len" -artifact_prefix="$build/$target-" \
        -print_final_stats=1 "$target.corpus") >"$build/$target.log" 2>&1; then
        tail -n 60 "$build/$target.log" >&2
        echo "finding in $target: see $build" >&2
        exit 1
    fi
    grep -E 'number_of_executed_units|new_units_added' "$build/$target.log"
}

fuzz json_row 512 json_row.c
fuzz logwriter 2048 logwriter.c json_row.c
fuzz pcap_scan 512 pcap_file.c
rm -rf "$build"
