#!/bin/sh
# The shared library exports exactly what the public headers declare with SOP_API: nothing
# internal can be linked against, and nothing that is promised is missing.
#   symbols.sh LIBSOP.SO HEADER_FOLDER
set -eu

library=$1
headers=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A declaration starts with SOP_API at the start of a line; its name is the last word before the
# first parenthesis, on this line or the next.
cat "$headers"/*.h | awk '
    /^SOP_API / { text = $0; open = 1 }
    open && !/^SOP_API / { text = text " " $0 }
    open && text ~ /\(/ {
        sub(/\(.*/, "", text)
        n = split(text, words, /[^A-Za-z0-9_]+/)
        print words[n]
        open = 0
    }' | sort -u >"$work/declared"
nm -D --defined-only "$library" | awk '{ sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"

if [ ! -s "$work/declared" ] || [ ! -s "$work/exported" ]; then
    echo "found no declarations or no symbols: the test looks in the wrong place" >&2
    exit 1
fi
failed=0
for name in $(comm -13 "$work/declared" "$work/exported"); do
    echo "exported but not declared SOP_API: $name" >&2
    failed=1
done
for name in $(comm -23 "$work/declared" "$work/exported"); do
    echo "declared SOP_API but not exported: $name" >&2
    failed=1
done
[ "$failed" -eq 0 ] && echo "$(wc -l <"$work/exported") public functions, nothing else"
exit "$failed"
