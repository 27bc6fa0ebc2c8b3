#!/bin/sh
# The example of README.md does what it says, twice in the same folder (the second run finds the
# database of the first), and README.md shows exactly that file (tools/check-names looks).
#   example.sh PROGRAM
set -eu

program=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

for run in first second; do
    said=$("$program")
    if [ "$said" != "ada wrote the first program" ]; then
        echo "$run run: expected 'ada wrote the first program', got '$said'" >&2
        exit 1
    fi
done
if [ ! -f hello.db/sop.db ]; then
    echo "no database was left in hello.db" >&2
    exit 1
fi
