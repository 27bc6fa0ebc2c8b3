#!/bin/sh
# The checks of tools/ can fail: each rule of check-layers and check-names is broken once in a
# small tree, and the complaint must name file and line; the clean tree passes.
#   checks.sh SOURCE_FOLDER
set -eu

tools=$1/tools
work=$(mktemp -d)
trap 'rm -rf "$work" "$work.out"' EXIT
status=0

file() # PATH LINES...
{
    mkdir -p "$work/$(dirname "$1")"
    path=$1
    shift
    printf '%s\n' "$@" >"$work/$path"
}

complains() # CHECK EXPECTED-WORDS
{
    if "$tools/$1" "$work" >"$work.out" 2>&1; then
        echo "$1 passed, expected: $2" >&2
        status=1
    elif ! grep -qF "$2" "$work.out"; then
        echo "$1 did not say: $2" >&2
        sed 's/^/    /' "$work.out" >&2
        status=1
    fi
}

passes() # CHECK
{
    if ! "$tools/$1" "$work" >"$work.out" 2>&1; then
        echo "$1 complained about a clean tree:" >&2
        sed 's/^/    /' "$work.out" >&2
        status=1
    fi
}

clean()
{
    rm -rf "$work"
    file engine/base/b.c '#include "engine/base/b.h"' '#include "sop/sop.h"' '/* time(0), open(2) */' \
        'int f(struct v *v) { return v->open(v) + v->ops.open("open(") + my_time(1) + timely(2); }'
    file engine/volume/posix_file.c '#include "engine/base/b.h"' '#include "engine/volume/v_int.h"' \
        'int f(void) { return openat(1); }'
    file engine/txn/t.c '#include "engine/btree/s.h"' '#include "t_int.h"' '#include <isa-l/crc.h>'
    file cli/m.c '#include <sop/sop.h>' '#include <jansson.h>' 'int f(void) { return open(1); }'
    file tests/unit/test_b.c '#include "engine/volume/v_int.h"' '#include "engine/db/d.h"'
}

clean
passes check-layers
passes check-names

file engine/base/x.c '#include "engine/volume/v.h"'
complains check-layers 'engine/base/x.c:1: engine/base may not include engine/volume'
clean
file engine/btree/x.c '#include "engine/chain/c.h"'
complains check-layers 'engine/btree/x.c:1: engine/btree may not include engine/chain'
clean
file cli/x.c '#include "engine/base/b.h"'
complains check-layers 'cli/x.c:1: cli may not include engine/base'
clean
file engine/txn/x.c '' '#include "engine/cache/c_int.h"'
complains check-layers 'engine/txn/x.c:2: includes engine/cache/c_int.h, which belongs to engine/cache alone'
clean
file engine/db/x.c '#include "engine/nowhere/n.h"'
complains check-layers 'engine/db/x.c:1: includes engine/nowhere/n.h, which lies in no layer'
clean
file engine/nowhere/x.c 'int x;'
complains check-layers 'engine/nowhere/x.c:1: lies in no layer'
for header in uv.h hiredis/hiredis.h protobuf-c/protobuf-c.h nghttp2/nghttp2.h; do
    clean
    file engine/db/x.c "#include <$header>"
    complains check-layers "engine/db/x.c:1: engine never includes <$header>"
done
for call in time rand open openat clock_gettime fsync pwrite unlinkat pthread_create usleep; do
    clean
    file engine/txn/x.c "int x(void)" "{ return $call (1); }"
    complains check-layers "engine/txn/x.c:2: calls $call()"
done

# In pieces, or this file itself would be refused.
clean
file engine/txn/x.c '/* TO''DO: later */'
complains check-names 'engine/txn/x.c:1:'
clean
file engine/txn/x.c 'const char *x = "/ro''ot/x";'
complains check-names 'engine/txn/x.c:1:'
clean
file engine/txn/x.c 'a' 'b /ho''me/me'
complains check-names 'engine/txn/x.c:2:'

exit "$status"
