#!/usr/bin/env bash
# sopctl load of NDJSON: values are kept as they are written in the file, to the byte, and what is
# not JSON is refused with its line and character.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
expect 0 "$ctl" init

# Each line of the table: a value as the file has it. Nothing of it may change.
cat >"$work/values" <<'VALUES'
1.1
0.1
-0.0
1E5
1e+5
1.10
1e400
-1e-400
9007199254740993
9223372036854775808
18446744073709551615
123456789012345678901234567890
3.141592653589793238462643383279502884197
true
false
null
[]
{}
[1.1, 2.50,  1e400]
{"a" : 1.10, "b":[ 0.1,{"c":12345678901234567890} ], "a":2}
{"text": "\u00e9\/ \ud800", "base64": "AA=="}
VALUES
n=0
while IFS= read -r value; do
    n=$((n + 1))
    printf ' { "key" : "k%02d", "value" : %s } \r\n' "$n" "$value"
done <"$work/values" >"$work/values.ndjson"
expect 0 "$ctl" load values "$work/values.ndjson" --create
n=0
while IFS= read -r value; do
    n=$((n + 1))
    expect 0 "$ctl" get values "$(printf 'k%02d' "$n")" -o raw
    same "value $n" "$(cat "$work/out")" "$value"
done <"$work/values"

# numbers in keys and in the rest of an object
cat >"$work/keys.ndjson" <<'LINES'
{"id":1.10,"price":1.1,"big":123456789012345678901,"list":[1, 2]}
{"price":9.90,"id":20000000000000000000}
LINES
expect 0 "$ctl" load rest "$work/keys.ndjson" --create --key-columns id
expect 0 "$ctl" get rest 1.10
same "members as they are" "$out" '{"price":1.1,"big":123456789012345678901,"list":[1, 2]}'
expect 0 "$ctl" get rest 20000000000000000000
same "a key past 64 bits in a raw store" "$out" '{"price":9.90}'
printf '{"key":18446744073709551615,"value":"most"}\n{"key":7,"value":"few"}\n' >"$work/u.ndjson"
expect 0 "$ctl" load u "$work/u.ndjson" --create --key uint64
expect 0 "$ctl" get u 18446744073709551615
same "a key past 63 bits" "$out" "most"
printf '{"key":[0.1,"a"],"value":"v"}\n{"key":[1e300,"b"],"value":"w"}\n' >"$work/d.ndjson"
expect 0 "$ctl" load d "$work/d.ndjson" --create --key double,string
expect 0 "$ctl" dump d --format ndjson
same "doubles have no more digits than they need" "$out" \
    "$(printf '{"key":[0.1,"a"],"value":"v"}\n{"key":[1e300,"b"],"value":"w"}')"
expect 0 "$ctl" scan d -o json
contains "doubles of scan" "$out" '[0.1,"a"]'

# strings are decoded, names too; {"base64": ...} are bytes
printf '{"\\u006bey":"a\\u0000\\u00e9\\ud83d\\ude00\\n","value":"\\"\\\\\\/"}\n' >"$work/s.ndjson"
expect 0 "$ctl" load s "$work/s.ndjson" --create
expect 0 "$ctl" scan s -o json
same "strings" "$out" '[{"key":"a\u0000é😀\n","value":"\"\\/"}]'
printf '{"key":"x","ride":{"base64":"AP8="},"value":{ "base64" : "gP4=" }}\n' >"$work/b.ndjson"
expect 0 "$ctl" load b "$work/b.ndjson" --create
expect 0 "$ctl" get b x -o json
same "bytes" "$out" '{"key":"x","ride":{"base64":"AP8="},"value":{"base64":"gP4="}}'

# what is not JSON: line and character of the first wrong byte
refused() # TEXT PART-OF-MESSAGE
{
    printf '{"key":"fine","value":1}\n%b\n' "$1" >"$work/bad.ndjson"
    expect 2 "$ctl" load bad "$work/bad.ndjson" --create
    contains "message for $1" "$err" "line 2"
    contains "message for $1" "$err" "$2"
    expect 1 "$ctl" store info bad
}
refused '{"key":"a","value":01}' "character 21"
refused '{"key":"a","value":1.}' "character 22"
refused '{"key":"a","value":.5}' "character 20"
refused '{"key":"a","value":-}' "character 21"
refused '{"key":"a","value":+1}' "character 20"
refused '{"key":"a","value":1e}' "character 22"
refused '{"key":"a","value":nul}' "character 20"
refused '{"key":"a","value":nullx}' "character 24"
refused '{"key":"a","value":[1,]}' "character 23"
refused '{"key":"a","value":[1 2]}' "character 23"
refused '{"key":"a","value":1,}' "character 22"
refused '{"key":"a" "value":1}' "character 12"
refused '{"key":"a","value":[}' "character 21"
refused '{"key":"a","value":[1}}' "character 22"
refused '{"key":"a","value":1} x' "character 23"
refused '{"key":"a","value":"x' "does not end"
refused '{"key":"a","value":"\\q"}' "character 21"
refused '{"key":"a","value":"\\u12g4"}' "character 21"
refused '{"key":"a","value":"\\ud800"}' "surrogate"
refused '{"key":"a","value":"\x01"}' "character 21"
refused '{"key":"a","value":"\xff"}' "UTF-8"
refused '{"key":"a","value":1\x00}' "character 21"
refused '{"key":"a","key":"b","value":1}' "twice"
refused '{"key":"a","value":1,"\\u0076alue":2}' "twice"
refused '{"key":"a","value":1,"k":' "character 26"
refused '{"key":"a","value":1' "character 21"
refused '{key:1}' "character 2"
refused '[1]' "not a JSON object"
refused '"text"' "not a JSON object"
refused "{\"key\":\"a\",\"value\":$(head -c 3000 /dev/zero | tr '\0' '[')" "deep"

# nothing is dropped without a word, and nothing of a line with an error is stored
refused '{"key":"a","value":1,"extra":2}' 'the member "extra" would not be stored'
refused '{"key":"a","value":1,"extra":2}' "character 22"
refused '{"key":"a","value":1,"extra":2}' "--key-columns"
refused '{"key":"a","Value":1}' "no member 'value'"
refused '{"key":"a","value":1,"Ride":"x"}' "leave it out"
printf '{"id":"a","value":1}\n{"id":"b","value":2,"unit":"m"}\n' >"$work/two.ndjson"
expect 2 "$ctl" load two "$work/two.ndjson" --create --key-columns id
contains "with columns of its own" "$err" 'line 2, character 21: the member "unit"'
contains "what is loaded" "$err" "nothing was loaded"
expect 2 "$ctl" load two "$work/two.ndjson" --create --key-columns id --batch 1
contains "how to go on" "$err" "--skip 1"
expect 0 "$ctl" count two
same "the line before is there" "$out" "1"
expect 0 "$ctl" load two "$work/two.ndjson" --key-columns id --value-column value --skip 1
expect 0 "$ctl" get two b
same "a value that was chosen" "$out" "2"
printf '{"key":"a","ride":"r","v":1,"w":2}\n' >"$work/chosen.ndjson"
expect 0 "$ctl" load chosen "$work/chosen.ndjson" --create --value-column w
expect 0 "$ctl" get chosen a -o json
same "the others are left out" "$out" '{"key":"a","ride":"r","value":"2"}'

# keys are single values
refused '{"key":[1],"value":1}' "character 8: the keys of this store are raw bytes"
refused '{"key":["a","b"],"value":1}' "write a string"
refused '{"key":[],"value":1}' "raw bytes"
refused '{"key":{"a":1},"value":1}' "not a list or an object"
refused '{"key":{"base64":"AA==","more":1},"value":1}' "not a list or an object"
refused '{"key":{"base64":"*"},"value":1}' "not a list or an object"
refused '{"key":null,"value":1}' "null"
printf '{"key":[[1],2],"value":1}\n' >"$work/nested.ndjson"
expect 2 "$ctl" load nested "$work/nested.ndjson" --create --key string,int64
contains "a field that is a list" "$err" "line 1, character 9: a field of the key"
printf '{"key":[5],"value":1}\n' >"$work/one.ndjson"
expect 0 "$ctl" load one "$work/one.ndjson" --create --key int64
expect 0 "$ctl" get one 5
printf '{"id":[5],"value":1}\n' >"$work/listed.ndjson"
expect 2 "$ctl" load listed "$work/listed.ndjson" --create --key-columns id
contains "a column that is a list" "$err" "raw bytes"
finish
