#!/usr/bin/env bash
# sop-bench compare: every row runs on every engine that is there, finds what it wrote, and says so
# in JSON, a table and a picture.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
bench=$1
json=$3/json_query

rows=36
tiny="compare --quick --items 2k --dir $work"

query() # MEMBER...: of the last report
{
    "$json" "$@" <"$work/compare.json" 2>/dev/null
}

# All rows on SOP and the bounds; all engines where that is quick.
# shellcheck disable=SC2086 # options
expect 0 "$bench" $tiny --engines sop,journal,memory --json "$work/compare.json" --svg "$work/compare.svg"
contains "the table says what is a bound" "$out" "=memory"
contains "durability is stated" "$out" "SOP_DURABLE_COMMIT"
same "no run failed" "$(query failures)" "0"
same "items" "$(query items)" "2000"
for ((i = 0; i < rows; i++)); do
    id=$(query rows $i id)
    same "$id is verified" "$(query rows $i engines sop verified)" "true"
    verified=$(query rows $i engines memory verified)
    same "$id of the bound is verified, if it is there" "${verified:-true}" "true"
    checks=$((checks + 1))
    query rows $i engines sop rate | grep -qE '^[0-9]*\.?[0-9]*[1-9]' || fail "$id has no rate"
    for member in p50_ns p99_ns cpu_seconds written_bytes settled_bytes file_bytes peak_bytes least most; do
        query rows $i engines sop $member >"$work/out" || fail "$id has no $member"
    done
done
same "no more rows" "$(query rows $rows id)" ""
same "the bound is verified, too" "$(query rows 6 engines memory verified)" "true"
same "what cannot be read is not verified" "$(query rows 6 engines journal verified)" "null"
checks=$((checks + 1))
query rows 6 bound_ratio | grep -qE '^[0-9]+\.[0-9]' || fail "no ratio to the bound"
contains "the picture is SVG" "$(cat "$work/compare.svg")" "</svg>"
same "a line per row in it" "$(grep -c 'text-anchor="end"' "$work/compare.svg")" "$rows"
same "nothing is left behind" "$(ls -d "$work"/sop-bench-* 2>/dev/null)" ""

# The peers that were built in, on rows of each kind.
peers=$("$bench" compare --quick --items 1k --dir "$work" --only classic10k.read -o json 2>/dev/null |
    grep -o '"name": "[a-z]*"' | cut -d'"' -f4 | grep -vE '^(sop|journal|memory)$')
some=classic10k,load_random,read_many,scan,update100,delete,ycsb_f.relaxed
count=9
if [ "${SOP_TEST_SCALE:-small}" != small ]; then
    some=$some,read1,read2,range100,load_ordered,single8,values64k,ycsb_a,ycsb_e,ycsb_f,cold_read,open_long
    count=23
fi
for peer in $peers; do
    # shellcheck disable=SC2086 # options
    expect 0 "$bench" $tiny --engines "sop,$peer" --json "$work/compare.json" \
        --only $some
    for ((i = 0; i < count; i++)); do
        same "$peer: $(query rows $i id) is verified" "$(query rows $i engines "$peer" verified)" "true"
    done
    same "$peer: rows" "$(query rows $count id)" ""
    same "$peer is what SOP is compared with" "$(query rows 3 best_peer)" "$peer"
done
echo "peers: ${peers:-none}"

expect 2 "$bench" compare --only no_such_row
contains "rows are named" "$err" "load_random"
expect 2 "$bench" compare --engines no_such_engine
expect 2 "$bench" compare --items 5
expect 1 "$bench" compare --quick --dir "$work/absent" --engines sop --only classic10k
finish
