#!/usr/bin/env bash
# Shows SOP with real data: installs what is missing, builds, and runs sop-demo on the Unicode
# Character Database with all Unihan files (Debian's package unicode-data).
#
#   scripts/demo.sh [--keep] [--no-install]
#
# --keep leaves the database behind and says where. SOP_BUILD names the folder of the builds
# (build), SOP_DEMO_DIR where the database goes (a new folder of TMPDIR or /tmp).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

DATA=/usr/share/unicode
keep=0
install=1
for argument in "$@"; do
    case $argument in
    --keep) keep=1 ;;
    --no-install) install=0 ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *)
        echo "unknown argument $argument; try --help" >&2
        exit 2
        ;;
    esac
done

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }

echo "1. What is needed"
if [ "$install" -eq 1 ]; then
    scripts/install-deps build
    if [ ! -f "$DATA/UnicodeData.txt" ] || ! command -v bzcat >/dev/null; then
        echo "installing: unicode-data bzip2"
        as_root apt-get -qq -y --no-install-recommends install unicode-data bzip2 >/dev/null
    fi
fi

echo "2. Build"
build=${SOP_BUILD:-build}/demo
log=$(mktemp)
if ! { cmake --preset release -B "$build" -DSOP_TESTS=OFF &&
    cmake --build "$build" --target sop-demo sopctl; } >"$log" 2>&1; then
    tail -n 40 "$log" >&2
    exit 1
fi
rm -f "$log"

folder=${SOP_DEMO_DIR:-$(mktemp -d "${TMPDIR:-/tmp}/sop-demo-XXXXXX")}
unihan=$(mktemp -d)
clean() {
    rm -rf "$unihan"
    [ "$keep" -eq 1 ] || rm -rf "$folder"
}
trap clean EXIT

for packed in "$DATA"/Unihan_*.bz2; do
    bzcat "$packed" >"$unihan/$(basename "$packed" .bz2)"
done

echo "3. Run"
"$build/cli/sop-demo" "$folder" "$DATA" "$unihan"

if [ "$keep" -eq 1 ]; then
    echo
    echo "The database is $folder/unicode. Ask it yourself:"
    echo "  $build/cli/sopctl scan facts --prefix 20013 --db $folder/unicode"
fi
