#!/bin/sh
# The examples do what they say. hello: the store is made once, so a second run in the same folder
# is told that it is there, which also shows that the first was durable. steps: works with what it
# finds. README.md shows exactly hello.c (tools/check-readme looks).
#   example.sh HELLO STEPS
set -eu

hello=$1
steps=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

fail()
{
    echo "$*" >&2
    exit 1
}

said=$("$hello") || fail "hello failed: $said"
[ "$said" = "ada is on disk" ] || fail "hello said '$said'"
[ -f hello.db/sop.db ] || fail "no database was left in hello.db"
said=$("$hello") && fail "hello made its store twice"
case $said in
*"create store users: "*) ;;
*) fail "the second hello said '$said'" ;;
esac

for run in first second; do
    said=$("$steps") || fail "steps failed in its $run run"
    [ "$said" = "ada wrote the first program" ] || fail "steps said '$said' in its $run run"
done
