#!/usr/bin/env bash
# sopctl repair: a damaged gate keeps everybody out until it is mended, by nobody while somebody
# has the database.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
json=$3/json_query

expect 0 "$ctl" init "$work/db"
expect 0 "$ctl" store create users
expect 0 "$ctl" put users alice 1
expect 0 "$ctl" checkpoint
expect 0 "$ctl" put users bob 2
gate=$(cd "$work/db" && printf '%s\n' chain/*/GATE)
cp "$work/db/$gate" "$work/gate"

# nothing to do, and nothing done
expect 0 "$ctl" repair "$work/db"
contains "nothing to do" "$out" "nothing to repair"
expect 0 "$ctl" repair -o json
same "none is damaged" "$("$json" damaged <"$work/out")" "0"

damage()
{
    printf 'rot' | dd of="$work/db/$gate" bs=1 seek=1000 conv=notrunc status=none
}

damage
for command in "get users bob" "put users carol 3" "verify" "verify --read-only" "stats"; do
    # shellcheck disable=SC2086 # words
    expect 5 "$ctl" $command
    contains "$command says what" "$err" "$gate at byte 0"
    contains "$command says what to do" "$err" "sopctl repair"
done
cp "$work/db/$gate" "$work/damaged"
expect 5 "$ctl" repair --dry-run
contains "it is found" "$out" "$gate at byte 0"
expect 5 "$ctl" repair --dry-run -o json
same "as JSON" "$("$json" damaged <"$work/out")" "1"
same "nothing is mended" "$("$json" repaired <"$work/out")" "0"
checks=$((checks + 1))
cmp -s "$work/db/$gate" "$work/damaged" || fail "a dry run wrote"
expect 0 "$ctl" repair
contains "it is mended" "$out" "$gate is live again"
checks=$((checks + 1))
cmp -s "$work/db/$gate" "$work/gate" || fail "the gate is not as it was"
expect 0 "$ctl" verify --deep
expect 0 "$ctl" get users bob
same "all is there" "$out" "2"

rm "$work/db/$gate"
expect 5 "$ctl" get users bob
contains "a missing one is named" "$err" "$gate is missing"
expect 0 "$ctl" repair -o json
same "it is made anew" "$("$json" repaired <"$work/out")" "1"
expect 0 "$ctl" verify --deep
expect 0 "$ctl" get users alice

# a loader that waits for its input holds the database
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
damage
expect 4 "$ctl" repair
contains "who has it" "$err" "process $loader on host"
expect 4 "$ctl" repair --dry-run
printf 'yan,1\n' >&9
exec 9>&-
wait "$loader"
same "the loader was not harmed" "$?" "0"
expect 0 "$ctl" repair
expect 0 "$ctl" get users yan
expect 0 "$ctl" verify --deep

# killed in the middle: the same
"$ctl" load users "$work/pipe" --format csv --batch 1 --acknowledged "$work/acks2" -q \
    >/dev/null 2>&1 &
loader=$!
exec 9<>"$work/pipe"
printf 'key,value\nxen,1\n' >&9
until [ -s "$work/acks2" ]; do
    kill -0 "$loader" || break
    sleep 0.02
done
kill -9 "$loader"
wait "$loader" 2>/dev/null
exec 9>&-
damage
expect 0 "$ctl" repair
expect 0 "$ctl" get users xen
expect 0 "$ctl" verify --deep

# a killed gate is no damage, and other damage is not painted over
{
    for _ in $(seq 64); do
        printf 'SOPDEAD\n'
        head -c 56 /dev/zero
    done
} >"$work/db/$gate"
expect 5 "$ctl" repair
contains "it was killed" "$err" "never undone"
cp "$work/gate" "$work/db/$gate"
damage
slot=$(cd "$work/db" && printf '%s\n' chain/*/0* | tail -n 1)
mv "$work/db/$slot" "$work/slot"
expect 5 "$ctl" repair
contains "the slot is missed" "$err" "$slot is missing"
mv "$work/slot" "$work/db/$slot"
expect 0 "$ctl" repair
expect 0 "$ctl" verify --deep

expect 3 "$ctl" repair "$work/none"
expect 2 "$ctl" repair "$work/db" --take-over
finish
