#!/usr/bin/env bash
# sopctl: stores and items, every form of put, get, del, count and scan.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
json=$3/json_query

expect 0 "$ctl" init
contains "init says what it made" "$out" "$SOP_DB"
expect 0 "$ctl" store create users --description "people"
expect 0 "$ctl" store create tags --duplicates
expect 0 "$ctl" store create facts --key int64,string
expect 0 "$ctl" store create films --values big --slot-length 100
expect 0 "$ctl" store list -o raw
same "stores in order" "$(cut -f1 "$work/out" | tr '\n' ' ')" "facts films tags users "
expect 0 "$ctl" store info users -o json
same "description" "$("$json" description <"$work/out")" "people"
same "slot length" "$("$json" slot_length <"$work/out")" "2000"
expect 0 "$ctl" store change users --description "persons" --custom "x"
expect 0 "$ctl" store info users -o json
same "description changed" "$("$json" description <"$work/out")" "persons"
same "custom changed" "$("$json" custom <"$work/out")" "x"
expect 0 "$ctl" store info facts -o json
same "schema" "$("$json" key <"$work/out")" "int64,string"

# put, get, del
expect 0 "$ctl" put users alice 31 -o json
same "put says how durable" "$("$json" durable <"$work/out")" "commit"
expect 0 "$ctl" put users alice 32 --durability none -o json
same "durability none is said" "$("$json" durable <"$work/out")" "none"
expect 0 "$ctl" get users alice
same "get" "$out" "32"
expect 3 "$ctl" put users alice 33 --add
expect 1 "$ctl" put users bob 1 --update
expect 0 "$ctl" put users bob 44 --if-absent
expect 0 "$ctl" put users bob 55 --if-absent -o json
same "if-absent leaves it" "$("$json" items <"$work/out")" "0"
expect 0 "$ctl" get users bob
same "if-absent kept the value" "$out" "44"
expect 0 "$ctl" put users carol "" --ride "extra"
expect 0 "$ctl" get users carol -o json
same "ride" "$("$json" ride <"$work/out")" "extra"
same "empty value" "$("$json" value <"$work/out")" ""
expect 0 "$ctl" scan users --keys-only
contains "a table has a column for rides if an item has one" "$(head -n 1 "$work/out")" "ride"
expect 1 "$ctl" get users nobody
expect 1 "$ctl" del users alice nobody
expect 0 "$ctl" get users alice
same "del is all or nothing" "$out" "32"
expect 0 "$ctl" del users alice bob -o json
same "del counts" "$("$json" items <"$work/out")" "2"
expect 1 "$ctl" get users alice

# tables have no blanks at the ends of their lines, and no empty values are lost
expect 0 "$ctl" scan users
same "blanks at the end" "$(grep -c ' $' "$work/out")" "0"
expect 0 "$ctl" store list
same "blanks at the end" "$(grep -c ' $' "$work/out")" "0"
expect 0 "$ctl" store info tags
same "blanks at the end" "$(grep -c ' $' "$work/out")" "0"
contains "a member without value" "$out" "description"
expect 0 "$ctl" verify
contains "one item is not many" "$out" "items 1, pages 1"

# bytes that are not text
expect 0 "$ctl" put users 00ff 80fe --encoding hex
expect 0 "$ctl" get users 00ff --encoding hex -o json
same "value as base64" "$("$json" value base64 <"$work/out")" "gP4="
same "key as base64" "$("$json" key base64 <"$work/out")" "AP8="
expect 0 "$ctl" get users 00ff --encoding hex -o raw
same "raw bytes" "$(od -An -tx1 "$work/out" | tr -d ' ')" "80fe"
expect 0 "$ctl" get users 00ff --encoding hex
same "a table in hex" "$out" '80fe'
expect 0 "$ctl" get users 00ff --encoding hex --all
same "all of a key in hex" "$out" '80fe'
expect 0 "$ctl" get users AP8= --encoding base64
same "a table in base64" "$out" 'gP4='
expect 0 "$ctl" scan users
contains "table escapes" "$(tr -s ' ' <"$work/out")" '\x00\xff \x80\xfe'
expect 0 "$ctl" put users 00fe 31 --encoding hex --ride 7200 -q
for code in hex base64; do
    expect 0 "$ctl" scan users --encoding "$code"
    cp "$work/out" "$work/$code"
    awk 'NR > 1 {print $1}' "$work/$code" >"$work/keys"
    same "keys in $code" "$(wc -l <"$work/keys")" "$("$ctl" count users)"
    while IFS= read -r key; do # what a table shows is what get takes, and put
        expect 0 "$ctl" get users "$key" --encoding "$code"
        expect 0 "$ctl" put users "$key" "$out" --encoding "$code" --update -q
    done <"$work/keys"
    expect 0 "$ctl" scan users --encoding "$code"
    same "put of what was shown, $code" "$(cat "$work/out")" "$(cat "$work/$code")"
done
contains "key, ride and value" "$(tr -s ' ' <"$work/hex")" "00fe 7200 31"
contains "key, ride and value" "$(tr -s ' ' <"$work/base64")" "AP4= cgA= MQ=="
expect 2 "$ctl" scan users --keys-only --encoding hex --prefix 00f
expect 0 "$ctl" scan users --keys-only --encoding hex --prefix 00 --limit 1
same "keys and rides only" "$(tail -n 1 "$work/out" | tr -s ' ')" "00fe 7200"
expect 0 "$ctl" scan users --encoding hex --prefix 00ff -o ndjson
same "JSON has its own form" "$out" '{"key":{"base64":"AP8="},"value":{"base64":"gP4="}}'
expect 0 "$ctl" dump users --encoding hex --prefix 00ff --format ndjson
same "a dump is for load" "$out" '{"key":{"base64":"AP8="},"value":{"base64":"gP4="}}'
expect 0 "$ctl" store create typed --key int64,string
expect 0 "$ctl" put typed 5,a 00ff --encoding hex
expect 0 "$ctl" scan typed --encoding hex
contains "typed keys stay text" "$(tr -s ' ' <"$work/out")" '{5, "a"} 00ff'
expect 0 "$ctl" store drop typed
expect 0 "$ctl" del users 00fe --encoding hex
expect 2 "$ctl" get users 0 --encoding hex
expect 2 "$ctl" get users 'A*8=' --encoding base64
expect 0 "$ctl" del users 00ff --encoding hex

# values from files
head -c 3000000 /dev/urandom >"$work/film"
expect 0 "$ctl" put films one --file "$work/film"
expect 0 "$ctl" get films one -o raw
checks=$((checks + 1))
cmp -s "$work/film" "$work/out" || fail "a large value changed"
expect 0 "$ctl" put films two --file - <"$work/film"
expect 0 "$ctl" scan films -o raw --keys-only
same "keys of films" "$(tr '\n' ' ' <"$work/out")" "one two "
expect 3 "$ctl" put films two --file "$work/film" --add
expect 2 "$ctl" put films two --file "$work/absent"
expect 2 "$ctl" put films two value --file "$work/film"
expect 2 "$ctl" put films two

# duplicates
for n in 1 2 3; do
    expect 0 "$ctl" put tags blue "$n" --add
done
expect 0 "$ctl" put tags red 9 --add
expect 0 "$ctl" get tags blue
same "the first duplicate" "$out" "1"
expect 0 "$ctl" get tags blue --all -o ndjson
same "duplicates in order" "$("$json" --lines value <"$work/out" | tr '\n' ' ')" "1 2 3 "
expect 0 "$ctl" del tags blue
expect 0 "$ctl" get tags blue
same "the second is first now" "$out" "2"
expect 0 "$ctl" del tags blue --all -o json
same "del --all" "$("$json" items <"$work/out")" "2"
expect 0 "$ctl" count tags
same "count tags" "$out" "1"

# typed keys
for code in 5 -3 20013 100; do
    expect 0 "$ctl" put facts "$code,name" "n$code"
    expect 0 "$ctl" put facts "$code,block" "b$code"
done
expect 0 "$ctl" scan facts -o ndjson
same "typed order" "$("$json" --lines value <"$work/out" | tr '\n' ' ')" \
    "b-3 n-3 b5 n5 b100 n100 b20013 n20013 "
expect 0 "$ctl" get facts -3,name
same "negative key" "$out" "n-3"
expect 0 "$ctl" scan facts --prefix 100 -o ndjson
same "prefix of a composite key" "$("$json" --lines key <"$work/out" | tr '\n' ' ')" \
    '[100,"block"] [100,"name"] '
facts() # WANTED-VALUES OPTION...
{
    local want=$1
    shift
    expect 0 "$ctl" scan facts -o ndjson "$@"
    same "facts $*" "$("$json" --lines value <"$work/out" | tr '\n' ' ')" "$want"
}
facts "n5 b100 " --from '5,c' --to '100,c'
facts "b5 n5 b100 n100 " --from 5 --to 20013
facts "b5 n5 b100 n100 " --after -3 --through 100
facts "n100 b100 n5 b5 " --after -3 --through 100 --reverse
facts "n5 " --prefix '5,na'
facts "n20013 " --after '{20013, "block"}'
expect 0 "$ctl" scan facts --limit 1 -o raw
same "composite key as text" "$out" "$(printf '{-3, "block"}\tb-3')"
expect 0 "$ctl" scan facts --limit 1
same "a table shows it so, too" "$out" "$(printf 'key            value\n{-3, "block"}  b-3')"
expect 0 "$ctl" get facts '{-3, "block"}'
same "and get takes what it shows" "$out" "b-3"
expect 0 "$ctl" store create words --key 'string desc'
expect 0 "$ctl" put words 'a, b' 1
expect 0 "$ctl" put words c 2
expect 0 "$ctl" scan words -o raw
same "descending, text as it is" "$(tr '\t\n' '= ' <"$work/out")" "c=2 a, b=1 "
expect 2 "$ctl" put facts x,name 1
expect 2 "$ctl" put facts 5 1

# ranges
expect 0 "$ctl" store create letters
for l in a b c d e ca cb; do
    expect 0 "$ctl" put letters $l "v$l" -q
done
keys() { cut -f1 "$work/out" | tr '\n' ' '; }
scan() # WANTED OPTION...
{
    local want=$1
    shift
    expect 0 "$ctl" scan letters -o raw "$@"
    same "scan $*" "$(keys)" "$want"
}
scan "a b c ca cb d e "
scan "c ca cb d e " --from c
scan "ca cb d e " --after c
scan "a b " --to c
scan "a b c " --through c
scan "b c ca cb " --from b --to d
scan "c ca cb " --prefix c
scan "cb ca c b " --from b --to d --reverse
scan "e d " --reverse --limit 2
scan "" --from x
scan "" --limit 0
expect 0 "$ctl" scan letters --position 3 --limit 2 -o raw
same "position" "$(keys)" "ca cb "
expect 0 "$ctl" scan letters --position 3 --reverse -o raw
same "position, reverse" "$(keys)" "ca c b a "
expect 0 "$ctl" scan letters --position 100 -o raw
same "position past the end" "$(keys)" ""
expect 0 "$ctl" count letters --prefix c
same "count of a prefix" "$out" "3"
expect 0 "$ctl" count letters -o json
same "count as JSON" "$("$json" items <"$work/out")" "7"
expect 0 "$ctl" count letters --estimate
same "estimate" "$out" "7"
expect 0 "$ctl" scan letters -o json --to c
same "JSON list" "$(tr -d '\n' <"$work/out")" '[{"key":"a","value":"va"},{"key":"b","value":"vb"}]'
expect 0 "$ctl" scan letters -o json --from x
same "empty JSON list" "$out" "[]"
expect 0 "$ctl" scan letters --limit 2
same "table" "$out" "$(printf 'key  value\na    va\nb    vb')"
expect 0 "$ctl" scan letters --keys-only -o json --limit 1
same "keys only" "$out" '[{"key":"a"}]'
expect 2 "$ctl" scan letters --from a --prefix b
expect 2 "$ctl" scan letters --position 1 --from a

expect 0 "$ctl" store drop letters
expect 1 "$ctl" scan letters
finish
