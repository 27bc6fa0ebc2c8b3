#!/usr/bin/env bash
# sop-demo on a small part of the Unicode Character Database: it ends well and says so.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
demo=$1
data=/usr/share/unicode
if [ ! -f "$data/UnicodeData.txt" ]; then
    echo "the package unicode-data is not installed"
    exit 77
fi
mkdir -p "$work/data/auxiliary" "$work/data/extracted" "$work/data/emoji" "$work/unihan"
(cd "$data" && find . -name '*.txt') | while IFS= read -r file; do
    { head -n 150 "$data/$file"; grep -aE '^(13A0|4E00|9FFF|2800)' "$data/$file"; } \
        >"$work/data/$file" 2>/dev/null
done
grep -aE '^(28..|13[AB].);' "$data/UnicodeData.txt" >>"$work/data/UnicodeData.txt"
for packed in "$data"/Unihan_*.bz2; do
    bzcat "$packed" | grep -aE '^U\+4E[0-3].' >"$work/unihan/$(basename "$packed" .bz2)"
done
expect 0 "$demo" "$work/folder" "$work/data" "$work/unihan" 2 500
contains "a look-up" "$out" "kDefinition of U+4E2D: central"
contains "killed" "$out" "was killed with -9 after"
contains "recounted" "$out" "acknowledged commits are there"
contains "verified" "$out" "clean: 4 stores"
contains "the end" "$out" "nothing acknowledged was lost"
checks=$((checks + 1))
grep -q $'\033' "$work/out" && fail "escapes in output that is not a terminal"
expect 2 "$demo"
expect 1 "$demo" "$work/none" "$work" "$work"
finish
