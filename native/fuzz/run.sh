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
section='\012\015\015\012\034\000\000\000\115\074\053\032\001\000\000\000\377\377\377\377\377\377\377\377\034\000\000\000'
interface='\001\000\000\000\040\000\000\000\001\000\000\000\000\000\004\000\011\000\001\000\011\000\000\000\000\000\000\000\040\000\000\000'
packet='\006\000\000\000\044\000\000\000\000\000\000\000\001\000\000\000\002\000\000\000\003\000\000\000\003\000\000\000abc\000\044\000\000\000'
seed pcap_scan pcapng "$section$interface$packet$packet"
seed pcap_scan simple "$section$interface"'\003\000\000\000\024\000\000\000\003\000\000\000abc\000\024\000\000\000'
seed packets nano '\000\012\001\005abcde\003\024\002\003xyz\002\001\002\010abcdefgh'
seed packets next '\021\377\001\005abcde\001\003xyz\004\002\010\003\011\001\020abcdefghijklmnop'
seed tsv scalars '\006\000\001\002\003\004\005\040a\\x2cb\tT\t-5\t7\t80\t1.5\n(empty)\t-\t-\t-\t-\t-\n#close\n-\tF\t9\t1\t1\t-nan\n'
seed tsv lists '\006\200\201\202\203\204\205\002a,-,b\tT,F\t-5,6\t7\t80\t1.5e300,1056991897.649921\n'
seed tsv json '\000\000\000\000\000\000\000\000{"a":1}\r\n{"b":[1,2]}\n{\n'
seed tsv addresses '\002\006\206\000\000\000\000\000192.0.2.1\t::1,fe80::1/64\n'
nine='\000\000\000\000\001'
column='\000\000\000\006X::LOG\000\000\000\001W\000\000\000\007default\000\000\000\001x\000\000\000\001\000\000\000\000\001v'
values="\000\000\000\005${nine}A\317\2005L\272\255O\000\000\000\007$nine\000\000\000\003a\377\042\000\000\000\014${nine}h\004\012\000\000\000"
seed transcode batch "\000\000$column\000\000\000\000$nine\000\000\000\001\000\000\000\023$nine\000\000\000\000\000\000\000\003$values"
seed transcode extras "\371\001$column\000\000\000\005$nine\000\000\000\002\000\000\000\003$nine\000\000\000\000\000\000\000\007\000\000\000\003\000\000\000\000\000"
count='\002\000\000\000\000\000\000\000'
names='\013\006X::LOG\013\001W\005\001x'
write="\016\003$count\001$count\003\016\004$names\005\025\000\000\000\001\000\000\000\004$nine\077\370\000\000\000\000\000\000"
seed transcode write "\000\200$write"
seed transcode message "\000\200\016\003$count\001$count\005\016\002$write\016\003$count\001$count\001\016\002\005\001e\016\001\000"

seed batch_intake batch "\020\107$column\000\000\000\003$nine\000\000\000\001\000\000\000\003$nine\000\000\000\000\000\000\000\007"
seed batch_intake pair "\020\072$column\000\000\000\003$nine\000\000\000\000\060\107$column\000\000\000\003$nine\000\000\000\001\000\000\000\003$nine\000\000\000\000\000\000\000\007"
seed batch_intake frames '\001\011log-write\001\001n\001\023zeek-bin-serializer\000\001x\202\001z'
seed ring frames '\000\002\000\100\000\001\001\144\004\001\002\300\010\002\003\001\014\003\004'
seed ring judged '\001\020\001\100\000\001\001\144\004\001\002\300\010\002\003\001\014\003\004'
seed ring indexed '\010\002\000\000\001\001\144\004\001\002\300\010\002\003\001\014\003\004'
seed ring cut '\011\020\001\000\000\001\144\004\001\002\300\010\002\003\001\014\003\004\144\004\001\002'
seed ring direct '\002\377\000\377\012\001\001\377\012\001\002\300\010\002\003\001\014\003\004'
seed ring raw '\004\377\000\060\000\000\000\000\000\000\000\000\000\000\000\010\000\000\000'

event="\016\003$count\001$count\001\016\003\005\001e\016\003$count\007\005\003abc\014\002$count\001$count\002\016\001\016\002$count\001\011\000\000\000\000\000\000\000\000"
seed broker_intake events "\003\005\200\001\000\123$event\000\123$event\104\123$event"
table="\016\003$count\001$count\001\016\002\005\001f\016\001\015\002\001\000\000\001\001\004\377\360\000\000\000\000\000\000"
seed broker_intake table "\000\000\053$table"
seed broker_intake logs "\001\011\000\073$write\001\003abc\040\000\000\000\000\001x\000\000\000\000\177\377\377\377"

udp='\105\000\000\040\000\001\000\000\100\021\000\000\012\000\000\001\012\000\000\002\000\065\000\007\000\014\000\000abcd'
first='\105\000\000\034\000\001\040\000\100\021\000\000\012\000\000\001\012\000\000\002\000\065\000\007\000\020\000\000'
later='\105\000\000\030\000\001\000\001\100\021\000\000\012\000\000\001\012\000\000\002abcd'
ipv6='\140\000\000\000\000\030\000\100\376\200\000\000\000\000\000\000\000\000\000\000\000\000\000\001\376\200\000\000\000\000\000\000\000\000\000\000\000\000\000\002\054\000\001\004\000\000\000\000\072\000\000\001\000\000\000\007\200\000\000\000\000\001\000\001'
macs='\000\000\000\000\000\000\000\000\000\000\000\000'
seed flow_key raw "\003\040$udp\034$first\030$later\100$ipv6"
seed flow_key tags "\001\070${macs}\210\250\000\001\201\000\000\002\010\000$udp\066${macs}\210\107\000\000\021\100$udp"
seed flow_key cooked "\010\064\010\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000\000$udp"
raw='\002\000\004\000\000\000\000\000\000\000\000\000\000\000\004\000\145\000\000\000'
head='\001\000\000\000\002\000\000\000'
seed segment_index flows "\115\074\262\241$raw$head\040\000\000\000\040\000\000\000$udp$head\034\000\000\000\034\000\000\000$first$head\030\000\000\000\030\000\000\000$later$head\100\000\000\000\100\000\000\000$ipv6\000"

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

broker="broker_value.c broker_message.c keyed_hash.c"
transcode="transcode.c transcode_record.c transcode_schema.c transcode_writes.c json_text.c json_text_double.c json_row.c $broker"
fuzz json_row 512 json_row.c
fuzz logwriter 2048 logwriter.c json_row.c
fuzz pcap_scan 512 pcap_scan.c
fuzz packets 2048 pcap_file.c pcap_scan.c synth.c packet_batch.c receiver.c ethernet.c
fuzz tsv 600 tsv.c json_row.c json_text.c json_text_double.c
fuzz transcode 1024 $transcode
fuzz batch_intake 2048 batch_intake.c $transcode
fuzz broker_intake 2048 broker_intake.c broker_frames.c $transcode
flows="flow_key.c community_id.c flow_table.c fragment_table.c keyed_hash.c"
segments="segment_index.c segment_journal.c segment_finish.c segment_reader.c segment_lookup.c segment_journal_lookup.c"
fuzz flow_key 1024 $flows
fuzz segment_index 2048 $flows flow_query.c $segments pcap_reader.c pcap_index.c pcap_merge.c packet_match.c filter.c
fuzz ring 512 ring.c ring_run.c ring_block.c ring_output.c ring_direct.c ring_files.c ethernet.c receiver.c packet_batch.c pcap_file.c synth.c ring_index.c $flows flow_query.c $segments
rm -rf "$build"
