#!/usr/bin/env bash
# sopctl: wrong use and bad states give the documented exit status and an error that helps.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
json=$3/json_query

# 2: usage
expect 2 "$ctl"
expect 2 "$ctl" gett users alice
contains "a misspelt command" "$err" "did you mean get"
expect 2 "$ctl" get users alice --outputt json
contains "a misspelt option" "$err" "did you mean --output"
expect 2 "$ctl" get users
contains "usage is shown" "$err" "usage: sopctl get STORE KEY"
expect 2 "$ctl" get users alice --limit 3
contains "an option of others" "$err" "does not take --limit"
expect 2 "$ctl" scan users --limit many
expect 2 "$ctl" scan users --limit
expect 2 "$ctl" scan users --output xml
expect 2 "$ctl" store
expect 2 "$ctl" store made
expect 2 env -u SOP_DB "$ctl" get users alice
contains "no database named" "$err" "SOP_DB"
expect 2 "$ctl" stats "$work" --db "$work"
expect 2 "$ctl" -o json get users
same "usage errors as JSON" "$("$json" error code <"$work/err")" "INVALID"
same "exit status in JSON" "$("$json" error exit <"$work/err")" "2"

# help and version need nothing
expect 0 env -u SOP_DB "$ctl" --version
contains "version" "$out" "sopctl 0."
expect 0 env -u SOP_DB "$ctl" --help
contains "help names commands" "$out" "store create"
for command in init "store create" "store list" "store info" "store change" "store drop" put get \
    del count scan load dump verify stats backup restore compact checkpoint doctor completion; do
    # shellcheck disable=SC2086 # two words are meant
    expect 0 "$ctl" $command --help
    contains "help of $command" "$out" "usage: sopctl $command"
    contains "examples of $command" "$out" "examples:"
done

# 3: refused
expect 3 "$ctl" get users alice
expect 3 "$ctl" -o json get users alice
same "no database" "$("$json" error code <"$work/err")" "NOT_A_DATABASE"
same "class" "$("$json" error class <"$work/err")" "refuse"
contains "hint" "$("$json" error hint <"$work/err")" "sopctl init"
mkdir "$work/full" && echo x >"$work/full/file"
expect 3 "$ctl" init "$work/full"
same "the other file is untouched" "$(ls "$work/full")" "file"
expect 0 "$ctl" init
expect 3 "$ctl" init
contains "init twice" "$err" "already"
expect 0 "$ctl" store create users
expect 3 "$ctl" store create users
expect 0 "$ctl" put users alice 1
expect 3 "$ctl" put users alice 1 --add
expect 3 "$ctl" restore "$work/full" "$work/new"

expect 3 "$ctl" store create "$(head -c 200 /dev/zero | tr '\0' n)"

# 2: values that cannot be
expect 2 "$ctl" store create odd --slot-length 3
expect 2 "$ctl" store create odd --key int65

# a wrong key is shown as it was typed, with the place in it
expect 0 "$ctl" store create facts --key int64,string
expect 2 "$ctl" put facts 12x,name 1
contains "the place in a key" "$err" "keys of store 'facts' are of type int64,string: key \"12x,name\": character 1:"
expect 2 "$ctl" get facts '12,"name'
contains "the place of an open quote" "$err" 'key "12,"name": character 9:'
expect 2 "$ctl" del facts 12,a,b
contains "too many fields" "$err" 'key "12,a,b": character 6:'
expect 2 "$ctl" get facts 12
contains "too few fields" "$err" 'key "12": it has 1 of the 2 fields'
expect 2 "$ctl" scan facts --after 12 --through x
contains "the option of a wrong key" "$err" "--through: keys of store"
contains "the place in its key" "$err" 'key "x": character 1:'
expect 2 "$ctl" count facts --prefix '{x'
contains "braces of the user count" "$err" '--prefix: keys of store'
contains "braces of the user count" "$err" 'key "{x": character 2:'
expect 2 "$ctl" get users 00g1 --encoding hex
contains "the place of a wrong hex digit" "$err" "character 3"

# 1: not found
expect 1 "$ctl" get users bob
expect 1 "$ctl" get nothing bob
contains "no store" "$err" "store create"
expect 1 "$ctl" store info nothing
expect 1 "$ctl" store drop nothing
expect 1 "$ctl" -o ndjson get users bob
same "not found as JSON" "$("$json" error code <"$work/err")" "NOT_FOUND"

# 4: in use. A loader that waits for its input holds the database.
mkfifo "$work/pipe"
"$ctl" load users "$work/pipe" --format csv --batch 1 --acknowledged "$work/acks" -q \
    >/dev/null 2>&1 &
loader=$!
exec 9<>"$work/pipe"
printf 'key,value\nzed,1\n' >&9
until [ -s "$work/acks" ]; do
    kill -0 "$loader" || break
    sleep 0.02
done
expect 4 "$ctl" put users bob 1
expect 4 "$ctl" -o json put users bob 1
same "in use as JSON" "$("$json" error code <"$work/err")" "BUSY"
expect 0 "$ctl" get users alice
same "readers need no lock" "$out" "1"
exec 9>&-
wait "$loader"

# 5 or 6: damage. Every file is damaged in the middle; something must notice.
"$ctl" checkpoint -q
find "$SOP_DB" -type f -size +200c | while IFS= read -r file; do
    size=$(stat -c %s "$file")
    printf '\377\376\375\374' | dd of="$file" bs=1 seek=$((size / 2)) conv=notrunc status=none
    printf '\377\376\375\374' | dd of="$file" bs=1 seek=$((size / 4)) conv=notrunc status=none
done
"$ctl" verify --deep >"$work/out" 2>"$work/err"
status=$?
checks=$((checks + 1))
[ "$status" -ge 3 ] || fail "damage was not noticed (exit status $status)"
finish
