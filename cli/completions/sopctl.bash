# bash completion for sopctl; written by 'sopctl completion bash'
_sopctl()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local i word words=() global=' --help --db --output --durability --cache --quiet'
    case "$prev" in
    --db | -d) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
    --output | -o) mapfile -t COMPREPLY < <(compgen -W 'table json ndjson raw' -- "$cur") && return ;;
    --durability) mapfile -t COMPREPLY < <(compgen -W 'commit interval none' -- "$cur") && return ;;
    --cache) return ;;
    --key | -k) return ;;
    --slot-length) return ;;
    --values) mapfile -t COMPREPLY < <(compgen -W 'small medium big' -- "$cur") && return ;;
    --description) return ;;
    --blob-key) return ;;
    --custom) return ;;
    --cache-page-seconds) return ;;
    --cache-value-seconds) return ;;
    --cache-info-seconds) return ;;
    --ride) return ;;
    --file | -f) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
    --encoding | -e) mapfile -t COMPREPLY < <(compgen -W 'text hex base64' -- "$cur") && return ;;
    --from) return ;;
    --after) return ;;
    --to) return ;;
    --through) return ;;
    --prefix | -p) return ;;
    --limit | -n) return ;;
    --position) return ;;
    --format) mapfile -t COMPREPLY < <(compgen -W 'csv ndjson' -- "$cur") && return ;;
    --batch) return ;;
    --skip) return ;;
    --key-columns) return ;;
    --value-column) return ;;
    --acknowledged) mapfile -t COMPREPLY < <(compgen -f -- "$cur") && return ;;
    --processes) return ;;
    --registry-hash-mod) return ;;
    --max-bytes) return ;;
    esac
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        [[ $word == -* ]] || words+=("$word")
    done
    case "${words[0]} ${words[1]}" in
    'init '*) word=' --registry-hash-mod --max-bytes' ;;
    'store create') word=' --key --duplicates --slot-length --values --description --blob-key --custom --cache-page-seconds --cache-value-seconds --cache-info-seconds --max-bytes --take-over' ;;
    'store list') word='' ;;
    'store info') word='' ;;
    'store change') word=' --description --custom --cache-page-seconds --cache-value-seconds --cache-info-seconds --max-bytes --take-over' ;;
    'store drop') word=' --max-bytes --take-over' ;;
    'put '*) word=' --add --update --if-absent --ride --file --encoding --max-bytes --take-over' ;;
    'get '*) word=' --encoding --all' ;;
    'del '*) word=' --encoding --all --max-bytes --take-over' ;;
    'count '*) word=' --encoding --from --after --to --through --prefix --reverse --limit --estimate' ;;
    'scan '*) word=' --encoding --from --after --to --through --prefix --reverse --limit --position --keys-only' ;;
    'load '*) word=' --key --duplicates --slot-length --values --description --blob-key --custom --cache-page-seconds --cache-value-seconds --cache-info-seconds --add --if-absent --format --batch --skip --create --key-columns --value-column --no-header --acknowledged --max-bytes --take-over' ;;
    'dump '*) word=' --with-ride --encoding --from --after --to --through --prefix --reverse --limit --format' ;;
    'verify '*) word=' --deep --read-only --take-over' ;;
    'repair '*) word=' --dry-run' ;;
    'stats '*) word='' ;;
    'backup '*) word='' ;;
    'restore '*) word='' ;;
    'compact '*) word=' --max-bytes --take-over' ;;
    'checkpoint '*) word=' --max-bytes --take-over' ;;
    'doctor '*) word=' --processes' ;;
    'completion '*) word='' ;;
    'store '*) mapfile -t COMPREPLY < <(compgen -W 'create list info change drop' -- "$cur"); return ;;
    *) word=' init store put get del count scan load dump verify repair stats backup restore compact checkpoint doctor completion' ;;
    esac
    if [[ $cur == -* || ${#words[@]} -eq 0 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$word$global" -- "$cur")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}
complete -o filenames -F _sopctl sopctl
