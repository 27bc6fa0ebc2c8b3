# Helpers of the tests of programs; sourced. $1 of the script is the program, $2 the source tree,
# $3 (optional) the folder with json_query.
set -uo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOP_DB=$work/db
unset TMPDIR
checks=0
failures=0

fail() # TEXT...
{
    failures=$((failures + 1))
    echo "FAIL line ${BASH_LINENO[1]}: $*" >&2
}

# Runs the rest; its exit status must be STATUS. Output in $out, errors in $err.
expect() # STATUS COMMAND...
{
    local want=$1 got
    shift
    "$@" >"$work/out" 2>"$work/err"
    got=$?
    # As the shell does: without the last newlines; bytes that are not text are compared as files.
    # shellcheck disable=SC2034 # the tests look at them
    out=$(tr -d '\0' <"$work/out")
    # shellcheck disable=SC2034
    err=$(tr -d '\0' <"$work/err")
    checks=$((checks + 1))
    if [ "$got" -ne "$want" ]; then
        fail "exit status $got instead of $want: $*"
        sed 's/^/    /' "$work/out" "$work/err" | head -20 >&2
    fi
}

same() # WHAT GOT WANTED
{
    checks=$((checks + 1))
    [ "$2" = "$3" ] || fail "$1: got '$2' instead of '$3'"
}

contains() # WHAT TEXT PART
{
    checks=$((checks + 1))
    case $2 in
    *"$3"*) ;;
    *) fail "$1: '$3' is not in '$2'" ;;
    esac
}

finish()
{
    if [ "$failures" -ne 0 ]; then
        echo "$failures of $checks checks failed" >&2
        exit 1
    fi
    echo "$checks checks passed"
}
