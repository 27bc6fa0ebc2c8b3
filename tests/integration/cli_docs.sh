#!/usr/bin/env bash
# sopctl: completion files and the man page are what the program's table makes, and hold every
# command; shells accept them.
# shellcheck source=tests/integration/cli.bash
. "$(dirname "${BASH_SOURCE[0]}")/cli.bash"
ctl=$1
tree=$2

while read -r kind file; do
    expect 0 "$ctl" completion "$kind"
    checks=$((checks + 1))
    cmp -s "$work/out" "$tree/$file" || fail "$file is old: sopctl completion $kind > $file"
done <<'FILES'
bash cli/completions/sopctl.bash
zsh cli/completions/_sopctl
fish cli/completions/sopctl.fish
mdoc cli/sopctl.1
FILES
expect 2 "$ctl" completion tcsh

expect 0 bash -n "$tree/cli/completions/sopctl.bash"
for shell in zsh fish; do
    if command -v $shell >/dev/null; then
        expect 0 "$shell" -n "$(echo "$tree"/cli/completions/*sopctl* | tr ' ' '\n' | grep -E "$([ $shell = zsh ] && echo '/_' || echo 'fish$')")"
    fi
done
if command -v mandoc >/dev/null; then
    expect 0 mandoc -T lint -W warning "$tree/cli/sopctl.1"
fi

# bash really completes
complete_words() # WORD...: what would be offered for the last word
{
    bash -c '
        source "$1"; shift
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _sopctl
        echo "${COMPREPLY[*]}"' bash "$tree/cli/completions/sopctl.bash" "$@"
}
same "commands" "$(complete_words sopctl ver)" "verify"
same "second words" "$(complete_words sopctl store cr)" "create"
same "options of a command" "$(complete_words sopctl scan users --rev)" "--reverse"
same "only its options" "$(complete_words sopctl get users --rev)" ""
same "choices" "$(complete_words sopctl scan users --output nd)" "ndjson"
same "global options" "$(complete_words sopctl stats --dura)" "--durability"
finish
