#!/usr/bin/env bash
# sop-bench: runs in every shape, its JSON has what it should, its man page is current.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
bench=$1
tree=$2
json=$3/json_query

for shape in "" "--threads 2" "--value-size 100" "--distribution random" \
    "--distribution zipfian --threads 2" "--durability none --slot-length 200" "--no-latency"; do
    # shellcheck disable=SC2086 # options
    expect 0 "$bench" classic --count 2000 --runs 1 --dir "$work" -o json $shape
    same "count $shape" "$("$json" results 0 count <"$work/out")" "2000"
    checks=$((checks + 1))
    "$json" results 0 delete ops_per_second <"$work/out" | grep -qE '^[1-9][0-9]*\.' ||
        fail "no figure for deletes"
done
expect 0 "$bench" classic --count 2000 --runs 3 --dir "$work" -o json
same "durability is stated" "$("$json" durability <"$work/out")" "commit"
p50=$("$json" results 0 read latency_ns p50 <"$work/out")
max=$("$json" results 0 read latency_ns max <"$work/out")
checks=$((checks + 1))
{ [ "$p50" -gt 0 ] && [ "$p50" -le "$max" ]; } || fail "percentiles: p50 $p50, max $max"
expect 0 "$bench" classic --count 2000 --runs 1 --dir "$work"
contains "durability in the table" "$out" "survives power loss"
same "nothing is left behind" "$(ls -d "$work"/sop-bench-* 2>/dev/null)" ""
expect 2 "$bench" classic --count 0
expect 2 "$bench" classic --slot-length 3
expect 2 "$bench" classic --dir "$work/absent"
expect 0 "$bench" completion mdoc
checks=$((checks + 1))
cmp -s "$work/out" "$tree/bench/sop-bench.1" ||
    fail "bench/sop-bench.1 is old: sop-bench completion mdoc > bench/sop-bench.1"
if [ "${SOP_TEST_SCALE:-small}" != small ]; then
    expect 0 "$bench" classic --sweep --runs 1 --dir "$work" -o json
    same "both tables" "$("$json" results 9 count <"$work/out")" "100000"
    contains "beside the published figures" "$out" '"published": 50309.0'
fi
finish
