#!/usr/bin/env bash
# sopctl: verify, stats, backup, restore, compact, checkpoint, doctor, durability and cache.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
json=$3/json_query

expect 0 "$ctl" init "$work/db"
seq 1 5000 | awk 'BEGIN {print "key,value"} {print "k" $1 ",v" $1}' >"$work/items.csv"
expect 0 "$ctl" load items "$work/items.csv" --create -q --durability interval --cache 16M

expect 0 "$ctl" stats -o json
same "one store" "$("$json" stores <"$work/out")" "1"
same "all items" "$("$json" items <"$work/out")" "5000"
on_disk=$(du -s --block-size=1 "$work/db" | cut -f1)
shown=$("$json" volume_bytes <"$work/out")
checks=$((checks + 1))
# du counts the folders themselves, too.
[ "$shown" -gt 100000 ] && [ "$shown" -le "$on_disk" ] && [ "$shown" -gt $((on_disk / 2)) ]
# shellcheck disable=SC2181 # of the three together
[ $? -eq 0 ] || fail "volume_bytes is $shown, du says $on_disk"
for name in commits conflicts rollbacks batches syncs journal_bytes cache_misses pins member; do
    same "$name of a process that only looks is not shown" "$(grep -c "\"$name\"" "$work/out")" "0"
done
expect 0 "$ctl" put items k1 v1 -o json
lsn=$("$json" lsn <"$work/out")
expect 0 "$ctl" stats -o json
newest=$(printf '%s\n' "$lsn" "$("$json" head <"$work/out")" | sort -V | tail -n 1)
same "head is not before the newest commit" "$("$json" head <"$work/out")" "$newest"
expect 0 "$ctl" stats "$work/db"
contains "units in the table" "$out" "MiB"
expect 0 "$ctl" verify "$work/db" -o json
same "verify counts" "$("$json" items <"$work/out")" "5000"
same "verify is clean" "$("$json" clean <"$work/out")" "true"
expect 0 "$ctl" verify --deep
contains "verify as a table" "$out" "clean"

expect 0 "$ctl" backup "$work/backup"
expect 0 "$ctl" put items k1 changed -q
expect 0 "$ctl" restore "$work/backup" "$work/second"
expect 0 "$ctl" get items k1 --db "$work/second"
same "the backup is of before" "$out" "v1"
expect 0 "$ctl" count items --db "$work/second"
same "the backup has all" "$out" "5000"
expect 0 "$ctl" dump items --db "$work/second"
checks=$((checks + 1))
sort "$work/items.csv" >"$work/a"
sort "$work/out" | cmp -s - "$work/a" || fail "the restored items differ"
expect 0 "$ctl" verify "$work/second" --deep
every_byte() # FOLDER: names and bytes of all its files
{
    (cd "$1" && find . -type f -exec cksum {} + | sort -k 3)
}
before=$(every_byte "$work/backup")
expect 0 "$ctl" verify "$work/backup" --deep --read-only -o json
same "a backup is clean" "$("$json" clean <"$work/out")" "true"
same "and as it was" "$(every_byte "$work/backup")" "$before"
expect 2 "$ctl" verify "$work/backup" --read-only --take-over
expect 3 "$ctl" backup "$work/second"
expect 3 "$ctl" restore "$work/backup" "$work/second"

expect 0 "$ctl" checkpoint -o json
same "checkpoint says so" "$("$json" path <"$work/out")" "$work/db"

# a damaged checkpoint: what is read is right, who asks is told, and a new one mends it
expect 0 "$ctl" put items k2 v2
expect 0 "$ctl" checkpoint
manifest=checkpoints/$(cd "$work/db/checkpoints" && printf '%s\n' * | tail -n 1)
printf 'rot' | dd of="$work/db/$manifest" bs=1 seek=100 conv=notrunc status=none
expect 0 "$ctl" get items k2
same "the older checkpoint serves" "$out" "v2"
expect 0 "$ctl" stats -o json
same "it is counted" "$("$json" checkpoints_damaged <"$work/out")" "1"
expect 5 "$ctl" verify --read-only
contains "verify names it" "$out$err" "$manifest: at bytes 8 to "
expect 0 "$ctl" checkpoint
expect 0 "$ctl" verify --deep
expect 0 "$ctl" stats -o json
same "it is mended" "$("$json" checkpoints_damaged <"$work/out")" "0"

expect 0 "$ctl" store drop items
expect 0 "$ctl" compact
expect 0 "$ctl" store list -o json
same "no stores" "$out" "[]"

expect 0 "$ctl" doctor "$work" --processes 2
contains "doctor" "$out" "fit"
expect 0 "$ctl" doctor "$work" --processes 2 -o json
same "doctor as JSON" "$("$json" fit <"$work/out")" "true"
same "doctor leaves nothing" "$(cd "$work" && ls -d -- *doctor* 2>/dev/null)" ""
expect 2 "$ctl" doctor "$work" --processes 0
if [ -d /proc/self ]; then
    expect 3 "$ctl" doctor /proc
    contains "doctor of a file system of the kernel" "$err" "takes no new files"
fi

# a limit on bytes: refused, and what is there stays
head -c 5000000 /dev/urandom >"$work/random"
expect 0 "$ctl" store create limited
expect 3 "$ctl" put limited big --file "$work/random" --max-bytes 4M
expect 1 "$ctl" get limited big
expect 0 "$ctl" stats -o json
same "the database itself has no limit" "$("$json" max_bytes <"$work/out")" "0"

# one that is given to init stays with the database, and with its backup
export SOP_DB=$work/small
expect 2 "$ctl" init --max-bytes much
expect 0 "$ctl" init --max-bytes 16M
head -c 20000000 /dev/urandom >"$work/random"
expect 0 "$ctl" stats -o json
same "stats shows the limit" "$("$json" max_bytes <"$work/out")" "16777216"
expect 0 "$ctl" stats
contains "in units" "$(grep max_bytes "$work/out")" "16.0 MiB"
expect 0 "$ctl" store create limited
expect 3 "$ctl" put limited big --file "$work/random"
contains "what to do" "$err" "--max-bytes"
expect 1 "$ctl" get limited big
expect 0 "$ctl" backup "$work/small-copy"
expect 0 "$ctl" stats "$work/small-copy" -o json
same "a backup has it too" "$("$json" max_bytes <"$work/out")" "16777216"
expect 0 "$ctl" put limited big --file "$work/random" --max-bytes 256M
expect 0 "$ctl" stats -o json
same "that was for one command" "$("$json" max_bytes <"$work/out")" "16777216"
expect 3 "$ctl" put limited more --file "$work/random"
expect 0 "$ctl" del limited big
expect 0 "$ctl" verify --deep
finish
