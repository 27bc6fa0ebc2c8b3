#!/usr/bin/env bash
# sopctl load and dump: round trips, columns, errors with line numbers, going on after them, and
# a kill in the middle.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
json=$3/json_query
expect 0 "$ctl" init

# CSV with quotes, newlines, a byte order mark, empty fields
printf '\xef\xbb\xbfkey,value\na,1\n"b, c","2 ""two"""\n"d\ne",3\n f ,\n' >"$work/in.csv"
expect 0 "$ctl" load plain "$work/in.csv" --create -o json
same "items loaded" "$("$json" items <"$work/out")" "4"
expect 0 "$ctl" get plain "b, c"
same "quotes" "$out" '2 "two"'
expect 0 "$ctl" get plain "$(printf 'd\ne')"
same "newline in a key" "$out" "3"
expect 0 "$ctl" get plain f
same "blanks around bare fields go" "$out" ""

# round trips of every kind of byte
i=0
for value in 00 ff 0a 0d0a 2c 22 2020 c3a9 f09f9880 edA080 5c78; do
    expect 0 "$ctl" put plain "ff$i$i" "$value" --encoding hex -q
    expect 0 "$ctl" put plain "20$i${i}20" "$value" --encoding hex -q --ride 00ff
    i=$((i == 9 ? 0 : i + 1))
done
expect 2 "$ctl" dump plain
contains "ride-on bytes are not lost silently" "$err" "--with-ride"
for form in "--format ndjson" "--format csv --with-ride"; do
    # shellcheck disable=SC2086 # options
    expect 0 "$ctl" dump plain $form
    cp "$work/out" "$work/dump"
    # shellcheck disable=SC2086
    expect 0 "$ctl" load again - ${form% --with-ride} --create <"$work/dump"
    # shellcheck disable=SC2086
    expect 0 "$ctl" dump again $form
    checks=$((checks + 1))
    cmp -s "$work/dump" "$work/out" || fail "round trip $form"
    expect 0 "$ctl" store drop again
done
expect 0 "$ctl" dump plain "$work/file.ndjson"
expect 0 "$ctl" load again "$work/file.ndjson" --create
expect 0 "$ctl" count again
same "count after the round trip" "$out" "$("$ctl" count plain)"
checks=$((checks + 1))
[ ! -e "$work/file.ndjson.part" ] || fail "a part is left"

# typed keys from columns; the rest becomes JSON
printf 'code,property,value\n20013,kDefinition,"central; center"\n-5,x,y\n' >"$work/facts.csv"
expect 0 "$ctl" load facts "$work/facts.csv" --create --key int64,string --key-columns code,property
expect 0 "$ctl" get facts 20013,kDefinition
same "value column" "$out" "central; center"
expect 0 "$ctl" dump facts
same "typed dump" "$(sed -n 1,2p "$work/out" | tr '\n' ' ')" 'key1,key2,value -5,x,y '
cp "$work/out" "$work/typed.csv"
expect 0 "$ctl" load facts2 "$work/typed.csv" --create --key int64,string
expect 0 "$ctl" dump facts2
checks=$((checks + 1))
cmp -s "$work/typed.csv" "$work/out" || fail "typed round trip"
expect 0 "$ctl" dump facts "$work/typed.ndjson"
expect 0 "$ctl" load facts3 "$work/typed.ndjson" --create --key int64,string
expect 0 "$ctl" dump facts3
checks=$((checks + 1))
cmp -s "$work/typed.csv" "$work/out" || fail "typed round trip by JSON"
expect 0 "$ctl" store create every --key 'bool,int64,uint64,double desc,string,bytes,uuid,timestamp'
expect 0 "$ctl" put every \
    '{true, -1, 18446744073709551615, -inf, "a \"b\", c", 0x00ff, 123e4567-e89b-12d3-a456-426614174000, 2024-01-31T12:00:00Z}' v
expect 0 "$ctl" put every '{false, 0, 0, 0.1, "", 0x, 00000000-0000-0000-0000-000000000000, 1970-01-01T00:00:00Z}' w
expect 0 "$ctl" store create loose --key 'any,string?'
for key in '{null, null}' '{1, "null"}' '{2.5, ""}' '{"1", x}' '{0x01, y}'; do
    expect 0 "$ctl" put loose "$key" v
done
for store in every loose; do
    schema=$("$ctl" store info $store -o json | "$json" key)
    for form in csv ndjson; do
        expect 0 "$ctl" dump $store "$work/$store.$form"
        expect 0 "$ctl" load "$store $form" "$work/$store.$form" --create --key "$schema"
        expect 0 "$ctl" dump "$store $form" "$work/again.$form"
        checks=$((checks + 1))
        cmp -s "$work/$store.$form" "$work/again.$form" || fail "round trip of $store as $form"
    done
done
printf '{"key":[null,"x"],"value":1}\n' >"$work/null.ndjson"
expect 2 "$ctl" load facts "$work/null.ndjson"
contains "null in a key" "$err" "line 1"
printf 'id,name,city\n1,Ann,Rome\n2,Bob,"New York"\n' >"$work/rows.csv"
expect 0 "$ctl" load rows "$work/rows.csv" --create --key int64 --key-columns id
expect 0 "$ctl" get rows 2
same "other columns as JSON" "$out" '{"name":"Bob","city":"New York"}'
expect 0 "$ctl" load names "$work/rows.csv" --create --key-columns 2 --value-column 3
expect 0 "$ctl" get names Ann
same "columns by number" "$out" "Rome"
# names of columns that a JSON object cannot hold are refused, not dropped
printf 'id,name,name\n1,Ann,Rome\n' >"$work/twice.csv"
expect 2 "$ctl" load twice "$work/twice.csv" --create --key-columns id
contains "two columns of one name" "$err" "columns 2 and 3 are both named 'name'"
printf 'id,n\351e\n1,Ann\n' >"$work/latin.csv"
expect 2 "$ctl" load latin "$work/latin.csv" --create --key-columns id
contains "a name that is not UTF-8" "$err" "the name of column 2 is not UTF-8"
printf 'id,a\000b\n1,Ann\n' >"$work/zero.csv"
expect 2 "$ctl" load zero "$work/zero.csv" --create --key-columns id
contains "a name with a zero byte" "$err" "the name of column 2 has a zero byte"

# nothing at all is not what was meant; a header alone may be
: >"$work/empty.csv"
expect 2 "$ctl" load plain "$work/empty.csv"
contains "an empty CSV" "$err" "the CSV is empty: its first line names the columns"
expect 0 "$ctl" load plain "$work/empty.csv" --no-header -o json
printf 'key,value\n' >"$work/header.csv"
expect 0 "$ctl" load plain "$work/header.csv" -o json

printf '7,seven\n8,eight\n' >"$work/bare.csv"
expect 0 "$ctl" load bare "$work/bare.csv" --create --no-header
expect 0 "$ctl" get bare 8
same "no header" "$out" "eight"
printf '{"id":3,"name":"Cy","tags":["a"]}\n\n{"id":4,"name":"Di"}\n' >"$work/rows.jsonl"
expect 0 "$ctl" load rows "$work/rows.jsonl" --key-columns id
expect 0 "$ctl" get rows 3
same "JSON members" "$out" '{"name":"Cy","tags":["a"]}'

# modes
expect 3 "$ctl" load bare "$work/bare.csv" --no-header --add
contains "the line of the existing key" "$err" "line 1"
printf '8,changed\n9,nine\n' >"$work/more.csv"
expect 0 "$ctl" load bare "$work/more.csv" --no-header --if-absent -o json
same "if-absent counts" "$("$json" changed <"$work/out")" "1"
expect 0 "$ctl" get bare 8
same "if-absent keeps" "$out" "eight"
expect 0 "$ctl" load bare "$work/more.csv" --no-header
expect 0 "$ctl" get bare 8
same "load changes" "$out" "changed"

# errors name lines and say how to go on
{
    echo key,value
    seq 1 25 | sed 's/.*/k&,v&/'
    echo broken
    seq 26 40 | sed 's/.*/k&,v&/'
} >"$work/bad.csv"
expect 2 "$ctl" load bad "$work/bad.csv" --create --batch 10 -o json
message=$("$json" error message <"$work/err")
contains "line of the error" "$message" "line 27"
contains "how to go on" "$message" "--skip 20"
expect 0 "$ctl" count bad
same "whole batches only" "$out" "20"
sed -i 's/^broken$/k25b,v/' "$work/bad.csv"
expect 0 "$ctl" load bad "$work/bad.csv" --skip 20 --add -q
expect 0 "$ctl" count bad
same "gone on" "$out" "41"
expect 2 "$ctl" load bad "$work/bad.csv" --skip 1000
printf 'key,value\n"open,1\n2,3\n' >"$work/open.csv"
expect 2 "$ctl" load bad "$work/open.csv"
contains "an open quote" "$err" "line 2"
printf 'key,value\n4,a"b\n' >"$work/open.csv"
expect 2 "$ctl" load bad "$work/open.csv"
contains "a quote out of place" "$err" "line 2: a quote"
printf '{"key":"a","value":1}\n{"key":\n' >"$work/bad.ndjson"
expect 2 "$ctl" load bad "$work/bad.ndjson"
contains "line of bad JSON" "$err" "line 2"
printf '{"key":"a"}\n' >"$work/bad.ndjson"
expect 2 "$ctl" load bad "$work/bad.ndjson"
contains "missing member" "$err" "'value'"
printf 'key,value\nx,1\n' >"$work/type.csv"
expect 2 "$ctl" load rows "$work/type.csv"
contains "line of a wrong key" "$err" "line 2"
expect 2 "$ctl" load rows "$work/type.csv" --key-columns nope
expect 3 "$ctl" load rows "$work/type.csv" --create --key string,string
contains "the key of the store is named" "$err" "not string,string"
expect 1 "$ctl" load absent "$work/type.csv"
contains "create is named" "$err" "--create"
expect 2 "$ctl" load rows "$work/absent.csv"

# --output is obeyed by dump where it can be, and refused elsewhere
expect 0 "$ctl" dump names -o ndjson
same "dump -o ndjson" "$out" "$("$ctl" dump names --format ndjson)"
contains "dump -o ndjson" "$out" '{"key":"Ann"'
for form in json table raw; do
    expect 2 "$ctl" dump names -o $form
    contains "dump -o $form" "$err" "sopctl scan"
    same "dump -o $form prints nothing" "$(cat "$work/out")" ""
done
expect 0 "$ctl" dump names -o json --format csv
same "--format decides" "$(head -n 1 "$work/out")" "key,value"
expect 0 "$ctl" dump names "$work/names.csv" -o json
same "the closing line has the format" "$("$json" path <"$work/out")" "$work/names.csv"
same "a name decides" "$(head -n 1 "$work/names.csv")" "key,value"
expect 0 "$ctl" dump names "$work/names" -o ndjson
contains "a name that says nothing" "$(cat "$work/names")" '{"key":"Ann"'
expect 2 "$ctl" dump names -o "$work/names.csv"
contains "a file is not an option" "$err" "sopctl dump STORE [FILE]"
expect 2 "$ctl" dump names "$work/names.ndjson" --with-ride
contains "--with-ride is of CSV" "$err" "--with-ride"

# --create belongs to the first batch: if that fails, nothing is left behind
printf 'key,value\nx,1\n' >"$work/first.csv"
expect 2 "$ctl" load made "$work/first.csv" --create --key int64
contains "no advice that makes no sense" "$err" "nothing was loaded: line 2"
same "no --skip 0" "$(grep -c -- --skip "$work/err")" "0"
expect 1 "$ctl" store info made
expect 2 "$ctl" load made "$work/bad.ndjson" --create
expect 1 "$ctl" store info made
expect 2 "$ctl" load made "$work/first.csv" --create --slot-length 3
expect 1 "$ctl" store info made
expect 0 "$ctl" load made "$work/first.csv" --create --key string --duplicates --description "of load"
expect 0 "$ctl" store info made -o json
same "options of --create" "$("$json" description <"$work/out")" "of load"
same "key of --create" "$("$json" key <"$work/out")" "string"
same "duplicates of --create" "$("$json" unique <"$work/out")" "false"
printf 'key,value\n' >"$work/empty.csv"
expect 0 "$ctl" load hollow "$work/empty.csv" --create
expect 0 "$ctl" count hollow
same "a file without items makes an empty store" "$out" "0"
expect 0 "$ctl" load hollow "$work/first.csv"
same "the closing line has no riddles" "$(grep -c changed "$work/out")" "0"
expect 0 "$ctl" load hollow "$work/first.csv" --if-absent
contains "what was there is told" "$out" "1 of them there already and left alone"

# null and the empty string are not the same
expect 0 "$ctl" store create maybe --key 'string?'
printf '{"key":[""],"value":"empty"}\n{"key":[null],"value":"null"}\n' >"$work/maybe.ndjson"
expect 0 "$ctl" load maybe "$work/maybe.ndjson"
expect 0 "$ctl" count maybe
same "two keys" "$out" "2"

# errors of keys name the field, and the place in what the file says
printf 'key1,key2,value\n5,a,1\n5x,b,1\n' >"$work/fields.csv"
expect 2 "$ctl" load facts "$work/fields.csv"
contains "field" "$err" 'line 3: field 1 of the key: key "5x": character 1: expected'

# kill -9 in the middle: what was acknowledged is there, in whole batches
seq 1 200000 | awk 'BEGIN {print "key,value"} {printf "%08d,value of %d\n", $1, $1}' >"$work/big.csv"
for round in 1 2 3; do
    rm -f "$work/acks"
    "$ctl" load killed "$work/big.csv" --create --batch 500 --acknowledged "$work/acks" -q \
        --skip "$("$ctl" count killed 2>/dev/null || echo 0)" &
    loader=$!
    while [ "$(wc -l 2>/dev/null <"$work/acks" || echo 0)" -lt $((round * 7)) ]; do
        kill -0 "$loader" 2>/dev/null || break
        sleep 0.01
    done
    kill -9 "$loader" 2>/dev/null
    wait "$loader" 2>/dev/null
    acknowledged=$(tail -n 1 "$work/acks")
    expect 0 "$ctl" count killed
    count=$out
    checks=$((checks + 2))
    [ "$count" -ge "$acknowledged" ] ||
        fail "round $round: $count items, $acknowledged acknowledged"
    [ $((count % 500)) -eq 0 ] || fail "round $round: half a batch is there: $count items"
    expect 0 "$ctl" dump killed "$work/killed.csv" -q
    checks=$((checks + 1))
    head -n "$((count + 1))" "$work/big.csv" | sed 's/,\(.*\)/,"\1"/; 1s/"//g' |
        cmp -s - "$work/killed.csv" || fail "round $round: the items are not those of the file"
done
expect 0 "$ctl" verify
finish
