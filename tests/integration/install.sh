#!/bin/sh
# An installed library can be used: the example builds and runs against a fresh prefix through
# pkg-config (shared and static) and through find_package, and nothing expected is missing.
#   install.sh SOURCE_FOLDER BUILD_FOLDER COMPILER
set -eu

source=$1
build=$2
compiler=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix

cmake --install "$build" --prefix "$prefix" >"$work/install.log"

fail()
{
    echo "$*" >&2
    exit 1
}

runs_well() # PROGRAM: as a user would run it, in a folder of its own
{
    mkdir "$work/run"
    said=$(cd "$work/run" && "$1")
    rm -rf "$work/run"
    [ "$said" = "ada is on disk" ] || fail "$1 said '$said'"
}

for header in "$source"/include/sop/*.h; do
    [ -f "$prefix/include/sop/$(basename "$header")" ] || fail "$header was not installed"
done
pc=$(find "$prefix" -name sop.pc)
[ -n "$pc" ] || fail "sop.pc was not installed"
libdir=$(dirname "$(dirname "$pc")")
export PKG_CONFIG_PATH="$libdir/pkgconfig"
for file in libsop.so libsop.so.0 libsop.a cmake/sop/sop-config.cmake; do
    [ -e "$libdir/$file" ] || fail "$file was not installed"
done
objdump -p "$libdir/libsop.so" | grep -q 'SONAME *libsop\.so\.0$' || fail "libsop.so has no soname"
for program in sopctl sop-bench; do
    if [ -x "$build/cli/$program" ] || [ -x "$build/bench/$program" ]; then
        [ -x "$prefix/bin/$program" ] || fail "$program was built but not installed"
        LD_LIBRARY_PATH="" "$prefix/bin/$program" --version >/dev/null || fail "$program does not run from the prefix"
    fi
done

# What pkg-config prints is a list of words.
# shellcheck disable=SC2046
"$compiler" -std=c11 -Wall -Wextra -pedantic -Werror -o "$work/shared" "$source/examples/hello.c" \
    $(pkg-config --cflags --libs sop) -Wl,-rpath,"$libdir"
runs_well "$work/shared"
objdump -p "$work/shared" | grep -q 'NEEDED *libsop\.so\.0$' || fail "the example does not use libsop.so.0"

# shellcheck disable=SC2046
"$compiler" -std=c11 -o "$work/static" "$source/examples/hello.c" \
    $(pkg-config --static --cflags --libs sop | sed s/-lsop/-l:libsop.a/)
runs_well "$work/static"
if objdump -p "$work/static" | grep -q 'NEEDED *libsop'; then
    fail "the static example uses libsop.so"
fi

mkdir "$work/project"
cp "$source/examples/hello.c" "$work/project/"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C)
find_package(sop 0.1 REQUIRED)
add_executable(shared hello.c)
target_link_libraries(shared PRIVATE sop::sop)
add_executable(static hello.c)
target_link_libraries(static PRIVATE sop::sop_static)
END
cmake -G Ninja -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" \
    -DCMAKE_C_COMPILER="$compiler" >"$work/project.log" 2>&1 || { cat "$work/project.log" >&2; exit 1; }
cmake --build "$work/project/build" >"$work/project.log" 2>&1 || { cat "$work/project.log" >&2; exit 1; }
runs_well "$work/project/build/shared"
runs_well "$work/project/build/static"

echo "installed, and used through pkg-config and find_package, shared and static"
