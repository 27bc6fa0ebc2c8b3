#!/usr/bin/env bash
# sopctl: what dump writes, load reads back as the same items: every byte in keys, rides and
# values, every type of key, duplicates, large values; as CSV and as NDJSON.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
json=$3/json_query
expect 0 "$ctl" init

base64_of() # PRINTF-TEXT
{
    # shellcheck disable=SC2059 # its escapes are meant
    printf "$1" | base64 -w 0
}

# Through both formats into new stores; those must dump as the first one does.
round() # STORE [OPTION OF load --create...]
{
    local store=$1 form count schema
    shift
    schema=$("$ctl" store info "$store" -o json | "$json" key)
    count=$("$ctl" count "$store")
    expect 0 "$ctl" dump "$store" "$work/first.ndjson" -q
    expect 0 "$ctl" dump "$store" "$work/first.csv" --with-ride -q
    same "lines of $store" "$(wc -l <"$work/first.ndjson")" "$count"
    for form in ndjson csv; do
        expect 0 "$ctl" load "$store.$form" "$work/first.$form" --create --key "$schema" -q "$@"
        expect 0 "$ctl" count "$store.$form"
        same "items of $store by $form" "$out" "$count"
        expect 0 "$ctl" dump "$store.$form" "$work/again.ndjson" -q
        expect 0 "$ctl" dump "$store.$form" "$work/again.csv" --with-ride -q
        checks=$((checks + 2))
        cmp -s "$work/first.ndjson" "$work/again.ndjson" || fail "$store by $form, as NDJSON"
        cmp -s "$work/first.csv" "$work/again.csv" || fail "$store by $form, as CSV"
    done
}

# Raw keys: each byte alone, doubled, and between others; the same as ride and value.
{
    for i in $(seq 0 255); do
        byte=$(printf '\\x%02x' "$i")
        one=$(base64_of "$byte")
        two=$(base64_of "$byte$byte")
        mid=$(base64_of "a${byte}b")
        printf '{"key":{"base64":"%s"},"value":{"base64":"%s"}}\n' "$one" "$two"
        printf '{"key":{"base64":"%s"},"ride":{"base64":"%s"},"value":{"base64":"%s"}}\n' \
            "$mid" "$one" "$mid"
    done
    printf '{"key":"","value":""}\n'
    printf '{"key":"key","value":"value"}\n{"key":"a\\r\\nb","value":"\\r\\n"}\n'
    printf '{"key":"\\ufeff","value":"\\ufeff"}\n{"key":"{\\"base64\\":\\"AA==\\"}","value":"{\\"base64\\":\\"AA==\\"}"}\n'
    printf '{"key":"\\"","value":"\\"\\""}\n{"key":"null","value":"null"}\n{"key":" , ","value":" , "}\n'
} >"$work/raw.ndjson"
expect 0 "$ctl" load raw "$work/raw.ndjson" --create
expect 0 "$ctl" count raw
# The quote alone is one of the 256 bytes.
same "raw keys" "$out" "$((512 + 7))"
for i in 00 0a 0d 22 2c 80 ff; do
    expect 0 "$ctl" get raw $i --encoding hex -o raw
    same "byte $i" "$(od -An -tx1 "$work/out" | tr -d ' \n')" "$i$i"
    expect 0 "$ctl" get raw "61${i}62" --encoding hex -o raw
    same "byte $i inside" "$(od -An -tx1 "$work/out" | tr -d ' \n')" "61${i}62"
done
round raw
expect 0 "$ctl" get raw.csv 00 --encoding hex -o raw
same "a NUL by CSV" "$(od -An -tx1 "$work/out" | tr -d ' \n')" "0000"
expect 0 "$ctl" get raw.csv 61ff62 --encoding hex -o json
same "ride by CSV" "$("$json" ride base64 <"$work/out")" "/w=="

# Every type, ascending and descending, alone, with its least, greatest and odd values.
typed() # NAME SCHEMA KEY...: what follows are texts of keys
{
    local name=$1 schema=$2 key n=0
    shift 2
    expect 0 "$ctl" store create "$name" --key "$schema"
    for key; do
        n=$((n + 1))
        expect 0 "$ctl" put "$name" -- "$key" "v$n"
        expect 0 "$ctl" get "$name" -- "$key"
        same "key $key of $schema" "$out" "v$n"
    done
    expect 0 "$ctl" count "$name"
    same "keys of $schema" "$out" "$n"
    round "$name"
}
typed bool bool true false
typed int int64 -9223372036854775808 -1 0 9223372036854775807
typed uint 'uint64 desc' 0 9223372036854775807 9223372036854775808 18446744073709551615
typed double double -inf -1.7976931348623157e308 -5e-324 0 0.1 1.1 0.30000000000000004 \
    2.2250738585072014e-308 9007199254740993 1e300 inf
typed time timestamp 1677-09-21T00:12:43.145224192Z 1969-12-31T23:59:59.999999999Z \
    1970-01-01T00:00:00Z 2262-04-11T23:47:16.854775807Z
typed uuid 'uuid desc' 00000000-0000-0000-0000-000000000000 ffffffff-ffff-ffff-ffff-ffffffffffff
typed string string '' ' ' ' a ' '"a\nb"' '"say \"x\""' 'a,b' 'héé' '{' 'null' '"\u0000"' '0x00'
typed bytes bytes '' 0x00 0xff00ff text '"0x00"' 0x2c 0x22 0x0d0a
typed maybe 'int64? desc' null 0 -1
typed maybes 'string?' null '""' '"null"' 'a' '" "'
typed any any null true false 1 18446744073709551615 1.5 1e300 -inf '"1"' '""' '"null"' 0x 0x31 \
    00000000-0000-0000-0000-000000000000 2024-01-31T12:00:00Z
typed many 'string,bytes desc,double,int64' '"",0x,0,0' '"a,b",0x00,-inf,-1' '"\"}",0xff,0.1,1' \
    '" ","{",1e300,2' '"\u0000",0x0d0a,inf,3'
typed loose 'string?,any,bytes?' 'null,null,null' '"null",1,0x' '"","a",0xff'

# Duplicates stay as many and in their order.
for n in 1 2 3; do
    printf '{"key":"same","value":"%s"}\n{"key":"other","value":"%s"}\n' "$n" "$n"
done >"$work/tags.ndjson"
expect 0 "$ctl" load tags "$work/tags.ndjson" --create --duplicates
round tags --duplicates
expect 0 "$ctl" get tags.csv same --all -o ndjson
same "order of duplicates" "$("$json" --lines value <"$work/out" | tr '\n' ' ')" "1 2 3 "

# Large values, in stores of each class: longer than a batch, a piece of a stream, a page.
head -c 20000000 /dev/urandom >"$work/huge"
head -c 1048576 /dev/zero >"$work/zeros"
for class in small medium big; do
    expect 0 "$ctl" store create "large$class" --values $class
    expect 0 "$ctl" put "large$class" zeros --file "$work/zeros" -q
    expect 0 "$ctl" put "large$class" huge --file "$work/huge" --ride r -q
    expect 0 "$ctl" put "large$class" tiny t -q
done
round largesmall --cache 16M
round largebig --values big --cache 16M
for store in largesmall.csv largesmall.ndjson largebig.csv largebig.ndjson; do
    expect 0 "$ctl" get $store huge -o raw
    checks=$((checks + 1))
    cmp -s "$work/huge" "$work/out" || fail "the large value of $store"
done
expect 0 "$ctl" load largemedium.csv "$work/first.csv" --create --values medium --if-absent -q
expect 0 "$ctl" load largemedium.csv "$work/first.csv" --if-absent -o json
same "large values that are there are left alone" "$("$json" changed <"$work/out")" "0"
expect 3 "$ctl" load largemedium.csv "$work/first.csv" --add
expect 0 "$ctl" get largemedium.csv huge -o raw
checks=$((checks + 1))
cmp -s "$work/huge" "$work/out" || fail "the large value of a medium store"
expect 0 "$ctl" verify -q
finish
