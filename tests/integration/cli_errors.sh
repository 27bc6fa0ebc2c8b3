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
expect 2 "$ctl" scn users
contains "a short word with a slip" "$err" "did you mean scan"
expect 2 "$ctl" store
contains "the words after the first" "$err" "after 'store' comes one of: create, list, info, change, drop"
expect 2 "$ctl" store lst
contains "a misspelt second word" "$err" "did you mean store list"
expect 2 "$ctl" store frobnicate
contains "a second word that is none" "$err" "no command 'store frobnicate'; after 'store' comes one of: create"
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
    del count scan load dump verify stats backup restore compact checkpoint doctor repair completion; do
    # shellcheck disable=SC2086 # two words are meant
    expect 0 "$ctl" $command --help
    contains "help of $command" "$out" "usage: sopctl $command"
    contains "examples of $command" "$out" "examples:"
done

expect 0 "$ctl" help
contains "help as a word" "$out" "store create"
expect 0 "$ctl" help store create
contains "help of a command" "$out" "usage: sopctl store create STORE"
expect 2 "$ctl" xyz
same "no far-fetched advice" "$(grep -c 'did you mean' "$work/err")" "0"

# 3: refused
expect 3 "$ctl" get users alice
expect 3 "$ctl" -o json get users alice
same "no database" "$("$json" error code <"$work/err")" "NOT_A_DATABASE"
same "class" "$("$json" error class <"$work/err")" "refuse"
contains "hint" "$("$json" error hint <"$work/err")" "sopctl init"
same "the hint names the command" "$("$json" error hint <"$work/err")" "\`sopctl init PATH\` makes a database"
mkdir "$work/full" && echo x >"$work/full/file"

# what is not a database: what it is, what to do, always the same status
mkdir "$work/empty"
echo text >"$work/text"
mkdir "$work/odd" && head -c 512 /dev/urandom >"$work/odd/sop.db"
nothing() # PATH TEXT
{
    local command
    for command in stats verify "store list" compact checkpoint; do
        # shellcheck disable=SC2086 # two words are meant
        expect 3 "$ctl" $command "$1"
        contains "$command of $1" "$err" "$2"
        contains "$command of $1" "$err" "[NOT_A_DATABASE]"
        contains "$command of $1" "$err" "what to do: \`sopctl init PATH\` makes a database"
    done
    expect 3 "$ctl" put users alice 1 --db "$1"
    contains "put into $1" "$err" "$2"
    expect 3 "$ctl" restore "$1" "$work/new"
    contains "restore of $1" "$err" "$2"
    expect 3 "$ctl" backup "$work/new" --db "$1"
    contains "backup of $1" "$err" "$2"
    same "nothing was made" "$([ -e "$work/new" ] && echo made)" ""
}
nothing "$work/absent" "there is no folder $work/absent"
nothing "$work/empty" "$work/empty holds no database"
nothing "$work/full" "$work/full holds no database"
nothing "$work/text" "$work/text is not a folder"
nothing "$work/text/below" "$work/text/below is not a folder"
nothing "$work/odd" "not of a SOP database"
same "nothing is written into an empty folder" "$(ls -A "$work/empty")" ""
expect 3 "$ctl" init "$work/text"
contains "init of a file" "$err" "is not a folder"
same "the file is as it was" "$(cat "$work/text")" "text"
expect 3 "$ctl" init "$work/text/below"
expect 3 "$ctl" init "$work/absent/below"
contains "init below nothing" "$err" "make that folder first"
expect 3 "$ctl" init "$work/odd"
expect 0 "$ctl" init "$work/empty"
expect 3 "$ctl" backup "$work/absent/below" --db "$work/empty"
contains "backup below nothing" "$err" "make that folder first"
same "no advice to make a database" "$(grep -c 'sopctl init' "$work/err")" "0"
expect 3 "$ctl" doctor "$work/absent"
contains "doctor of nothing" "$err" "there is no folder"
expect 3 "$ctl" doctor "$work/text"
contains "doctor of a file" "$err" "is not a folder"

# no permission
if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null; then
    as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
else
    as_nobody=()
fi
chmod 755 "$work"
cp "$ctl" "$work/sopctl"
mkdir "$work/closed" "$work/seen"
expect 0 "$ctl" init "$work/closed/db"
expect 0 "$ctl" init "$work/seen/db"
expect 0 "$ctl" store create users --db "$work/seen/db"
chmod 0 "$work/closed"
find "$work/seen" -type d -exec chmod 555 {} +
find "$work/seen" -type f -exec chmod 444 {} +
if [ "${#as_nobody[@]}" -gt 0 ] || [ "$(id -u)" -ne 0 ]; then
    for command in stats verify init; do
        expect 3 "${as_nobody[@]}" "$work/sopctl" $command "$work/closed/db"
        contains "$command without permission" "$err" "Permission denied"
        contains "$command without permission" "$err" "what to do: give this user"
    done
    expect 3 "${as_nobody[@]}" "$work/sopctl" put users a 1 --db "$work/seen/db"
    contains "put without permission" "$err" "what to do: give this user"
    expect 3 "${as_nobody[@]}" "$work/sopctl" init "$work/seen/new"
    contains "init without permission" "$err" "what to do: give this user"
    expect 0 "${as_nobody[@]}" "$work/sopctl" count users --db "$work/seen/db"
    same "reading needs no right to write" "$out" "0"
fi
chmod 755 "$work/closed"
find "$work/seen" -type d -exec chmod 755 {} +
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

# files of the user that cannot be: 2, and a hint that is for them
expect 2 "$ctl" load users "$work"
contains "load of a folder" "$err" "is a folder"
expect 2 "$ctl" put users a --file "$work"
contains "put of a folder" "$err" "is a folder"
expect 2 "$ctl" dump users "$work/absent/file"
contains "dump to nowhere" "$err" "No such file"
# shellcheck disable=SC2016 # the inner shell expands it
expect 6 sh -c '"$1" dump users >/dev/full' sh "$ctl"
contains "a full disk" "$err" "what to do: free space there"
expect 2 "$ctl" store change users
contains "nothing to change" "$err" "--description"
same "a word is no file" "$("$ctl" scan users -o xml 2>&1 | grep -c 'files are')" "0"

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
contains "drop of nothing" "$err" "sopctl store list"
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
contains "who has it" "$err" "process $loader on host"
same "the folder is named once" "$(grep -o "$SOP_DB" "$work/err" | wc -l)" "1"
expect 4 "$ctl" -o json put users bob 1
same "in use as JSON" "$("$json" error code <"$work/err")" "BUSY"
expect 0 "$ctl" get users alice
same "readers need no lock" "$out" "1"
expect 4 "$ctl" verify
expect 0 "$ctl" verify --read-only
exec 9>&-
wait "$loader"

# taken over: the loser is told what happened, in words of people
"$ctl" load users "$work/pipe" --format csv --batch 1 --acknowledged "$work/acks2" -q \
    >/dev/null 2>"$work/taken" &
loader=$!
exec 9<>"$work/pipe"
printf 'key,value\nyan,1\n' >&9
until [ -s "$work/acks2" ]; do
    kill -0 "$loader" || break
    sleep 0.02
done
expect 0 "$ctl" put users bob 1 --take-over
printf 'xen,1\n' >&9
exec 9>&-
wait "$loader"
same "exit status of the loser" "$?" "4"
contains "what happened" "$(cat "$work/taken")" "another opener has taken the database over"
contains "what to do" "$(cat "$work/taken")" "reopen"
for word in tenure TEN sealed member record cut batch adopted; do
    same "no internal word $word" "$(grep -cw -- "$word" "$work/taken")" "0"
done
expect 1 "$ctl" get users xen
expect 0 "$ctl" get users yan

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
