#!/usr/bin/env bash
# Every test of the project, in stages, each timed. Ends with a line "N passed, N failed" that
# counts checks, builds, rows of the models, ctest programs and fuzz targets; exit code 0 only if
# nothing failed.
#
#   scripts/test.sh [--long] [--no-install] [--only STAGE]...
#
#   checks    format, layers, headers, names, README, shell scripts, man pages
#   models    tests/model/run: the protocol, exhaustively, and its mutants
#   dev       gcc with ASan, UBSan, deep checks: all tests, small
#   tsan      gcc with TSan: the tests labelled "threads"
#   release   gcc -O2: all tests, full; clang -O2: everything compiles; instructions of fixed work
#   fuzz      clang, libFuzzer, ASan, UBSan: each decoder for a while
#   coverage  all tests, small; lines of engine/ that ran
#
# SOP_TEST_SCALE (small, full, long) tells tests how much to do. SOP_BUILD names the folder of the
# builds (build). --long: hours instead of minutes.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

COVERAGE_PERCENT_LEAST=90
FUZZ_SECONDS=10
FUZZ_PARALLEL=2
TEST_PARALLEL=2
TEST_SECONDS_MAX=1800
SCALE_SMALL=small
SCALE_FULL=full
STAGES="checks models dev tsan release fuzz coverage"

build=${SOP_BUILD:-build}
install=1
long=0
only=
while [ $# -gt 0 ]; do
    case $1 in
    --long)
        long=1
        FUZZ_SECONDS=3600
        TEST_SECONDS_MAX=86400
        SCALE_SMALL=full
        SCALE_FULL=long
        ;;
    --no-install) install=0 ;;
    --only)
        shift
        case " $STAGES " in
        *" ${1:-} "*) only="$only $1" ;;
        *)
            echo "no stage '${1:-}'; there are: $STAGES" >&2
            exit 2
            ;;
        esac
        ;;
    -h | --help)
        sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
        exit 0
        ;;
    *)
        echo "unknown argument $1; try --help" >&2
        exit 2
        ;;
    esac
    shift
done
only=${only:-$STAGES}

passed=0
failed=0
failures=()
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT

# Sanitizers place their shadow memory at fixed addresses; where the kernel randomises more bits
# than they expect, they stop at random. A fixed layout is no loss for tests.
fixed_layout=()
if setarch "$(uname -m)" -R true 2>/dev/null; then
    fixed_layout=(setarch "$(uname -m)" -R)
fi
export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=second_deadlock_stack=1:history_size=4
# Without a terminal ninja and ctest print one line per step; those go to logs anyway.
export CTEST_OUTPUT_ON_FAILURE=1 CLICOLOR_FORCE=0 LC_ALL=C

note_passed() # COUNT
{
    passed=$((passed + $1))
}

note_failed() # COUNT WHAT
{
    failed=$((failed + $1))
    failures+=("$2")
}

# Runs a command as one check; its output is shown if it fails.
check() # NAME COMMAND...
{
    local name=$1
    shift
    if "$@" >"$logs/check" 2>&1; then
        note_passed 1
        echo "  ok    $name"
    else
        note_failed 1 "$name"
        echo "  FAIL  $name"
        tail -n 60 "$logs/check" | sed 's/^/        /'
        return 1
    fi
}

configure_and_build() # PRESET TARGET...
{
    local preset=$1
    shift
    if ! cmake --preset "$preset" -B "$build/$preset" >"$logs/cmake" 2>&1; then
        grep -A 12 'CMake Error' "$logs/cmake" || cat "$logs/cmake"
        return 1
    fi
    ninja --quiet -C "$build/$preset" "$@"
}

# Builds a preset (all targets, or those named) as one check.
compile() # PRESET TARGET...
{
    check "build: $*" configure_and_build "$@"
}

# Runs the tests of a build and counts its programs.
run_tests() # PRESET SCALE CTEST-ARGUMENTS...
{
    local preset=$1 scale=$2 junit=$logs/junit.xml log=$logs/ctest
    shift 2
    rm -f "$junit"
    SOP_TEST_SCALE=$scale "${fixed_layout[@]}" ctest --test-dir "$build/$preset" \
        -j "$TEST_PARALLEL" --timeout "$TEST_SECONDS_MAX" --no-tests=error \
        --output-junit "$junit" --test-output-size-passed 65536 "$@" >"$log" 2>&1
    local code=$?

    # The head of the report: <testsuite ... tests="12" failures="1" disabled="0" skipped="0" ...
    local tests bad not_run
    tests=$(junit_count tests "$junit")
    bad=$(junit_count failures "$junit")
    not_run=$(($(junit_count skipped "$junit") + $(junit_count disabled "$junit")))
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
        # Programs that could not be started count as skipped in the report, not here.
        bad=$((not_run > 0 ? not_run : 1))
        not_run=0
        tests=$((tests < bad ? bad : tests))
    fi
    note_passed $((tests - bad - not_run))
    echo "  $((tests - bad - not_run)) tests passed, $bad failed, $not_run skipped ($preset, $scale)"
    # What they counted: crash points, kills, operations and their seeds.
    if [ -f "$junit" ]; then
        grep -E '^(crash points|backup|kill -9|take-over|seed [0-9]+|ten million|cycles): ' "$junit" |
            sed 's/^/        /'
    fi
    if [ "$bad" -gt 0 ]; then
        note_failed "$bad" "tests of $preset"
        grep -vE '^ *[0-9]+/[0-9]+ Test +#[0-9]+: .* Passed |^ +Start +[0-9]+: |^$' "$log" |
            tail -n 300 | sed 's/^/        /'
    fi
}

junit_count() # ATTRIBUTE FILE: its value in the head of the report, 0 if there is none
{
    local value=
    if [ -f "$2" ]; then
        value=$(tr '\n\t' '  ' <"$2" | sed -n 's/^.*<testsuite \([^>]*\)>.*$/\1/p' |
            sed -n "s/^.*[ ]*$1=\"\([0-9]*\)\".*\$/\1/p")
    fi
    echo "${value:-0}"
}

stage_checks()
{
    check "format" tools/check-format
    check "layers" tools/check-layers
    check "headers" tools/check-headers
    check "names" tools/check-names
    check "readme" tools/check-readme
    check "shell scripts" tools/check-shell
    if tools/sources . | grep -qE '\.[1-8]$'; then
        check "man pages" tools/check-man
    fi
}

# tests/model/run prints a row per model and mutant and ends with "N passed, N failed".
stage_models()
{
    local args=() code verdict good bad
    [ "$long" -eq 1 ] && args=(--long)
    if [ ! -x tests/model/run ]; then
        echo "  FAIL  tests/model/run is missing"
        note_failed 1 "tests/model/run is missing"
        return
    fi
    tests/model/run "${args[@]}" 2>&1 | tee "$logs/models" | sed 's/^/  /'
    code=${PIPESTATUS[0]}
    verdict=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$logs/models" | tail -n 1)
    good=$(echo "$verdict" | sed -n 's/^\([0-9]*\) passed.*$/\1/p')
    bad=$(echo "$verdict" | sed -n 's/^.* \([0-9]*\) failed.*$/\1/p')
    if [ -z "$verdict" ] || { [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; }; then
        bad=$((${bad:-0} + 1))
    fi
    note_passed "${good:-0}"
    [ "${bad:-0}" -eq 0 ] || note_failed "$bad" "models"
}

stage_dev()
{
    compile dev && run_tests dev "$SCALE_SMALL"
}

stage_tsan()
{
    compile tsan threaded_tests && run_tests tsan "$SCALE_SMALL" -L '^threads$'
}

stage_release()
{
    if compile release; then
        run_tests release "$SCALE_FULL"
        check "tools/perf-guard" tools/perf-guard "$build/release/bench/sop-bench" && grep -v '^$' "$logs/check"
    fi
    compile clang
}

# One target against its corpus; what it finds new stays in the build folder.
fuzz_one() # PROGRAM
{
    local name
    name=$(basename "$1")
    local found=$build/fuzz/corpus/$name given=tests/fuzz/corpus/$name
    mkdir -p "$found"
    local folders=("$found")
    [ -d "$given" ] && folders+=("$given")
    "${fixed_layout[@]}" "$1" -max_total_time="$FUZZ_SECONDS" -timeout=20 -rss_limit_mb=2048 \
        -artifact_prefix="$build/fuzz/$name-" -print_final_stats=1 "${folders[@]}" \
        >"$logs/$name.log" 2>&1
    echo "$?" >"$logs/$name.code"
}

stage_fuzz()
{
    compile fuzz fuzz_targets || return
    local programs=() program name
    for program in "$build"/fuzz/tests/fuzz/fuzz_*; do
        [ -f "$program" ] && [ -x "$program" ] && programs+=("$program")
    done
    if [ "${#programs[@]}" -eq 0 ]; then
        echo "  FAIL  there are no fuzz targets"
        note_failed 1 "no fuzz targets"
        return
    fi
    for program in "${programs[@]}"; do
        while [ "$(jobs -pr | wc -l)" -ge "$FUZZ_PARALLEL" ]; do
            wait -n
        done
        fuzz_one "$program" &
    done
    wait
    for program in "${programs[@]}"; do
        name=$(basename "$program")
        if [ "$(cat "$logs/$name.code" 2>/dev/null)" = 0 ]; then
            note_passed 1
            echo "  ok    $name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$logs/$name.log") runs"
        else
            note_failed 1 "$name"
            echo "  FAIL  $name"
            tail -n 60 "$logs/$name.log" | sed 's/^/        /'
        fi
    done
}

# Lines of engine/ as gcov counts them. Only .c files: a header's lines are counted again by
# each file that includes it.
coverage_table()
{
    find "$build/coverage/CMakeFiles" -path '*/engine/*' -name '*.gcno' | sort |
        while IFS= read -r notes; do
            # A build folder may still hold notes of sources that are gone.
            source=${notes##*.dir/}
            [ -f "${source%.gcno}" ] || continue
            gcov -n "$notes" 2>/dev/null
        done | awk -v least="$COVERAGE_PERCENT_LEAST" '
        /^File / {
            file = $0
            gsub(/^File .|.$/, "", file)
        }
        /^Lines executed:/ && file ~ /engine\/.*\.c$/ {
            sub(/^.*engine\//, "engine/", file)
            percent = $2
            sub(/^executed:/, "", percent)
            sub(/%.*$/, "", percent)
            lines[file] = $NF
            covered[file] = percent * $NF / 100
            file = ""
        }
        END {
            for (file in lines) {
                folder = file
                sub(/\/[^\/]*$/, "", folder)
                folder_lines[folder] += lines[file]
                folder_covered[folder] += covered[file]
                all += lines[file]
                all_covered += covered[file]
                if (covered[file] * 100 < least * lines[file]) {
                    printf "  %-36s %5.1f %% of %d\n", file, covered[file] * 100 / lines[file], lines[file] | "sort"
                }
            }
            close("sort")
            for (folder in folder_lines) {
                printf "  %-36s %5.1f %% of %d\n", folder "/", folder_covered[folder] * 100 / folder_lines[folder], folder_lines[folder] | "sort"
            }
            close("sort")
            printf "  lines of engine/ that ran: %.1f %% of %d (least: %d %%)\n", all ? all_covered * 100 / all : 0, all, least
            exit !(all > 0 && all_covered * 100 >= least * all)
        }'
}

stage_coverage()
{
    compile coverage || return
    find "$build/coverage" -name '*.gcda' -delete
    run_tests coverage small
    coverage_table >"$logs/coverage"
    local code=$?
    cat "$logs/coverage"
    if [ "$code" -eq 0 ]; then
        note_passed 1
    else
        note_failed 1 "coverage below $COVERAGE_PERCENT_LEAST %"
    fi
}

if [ "$install" -eq 1 ]; then
    scripts/install-deps test || exit 1
fi
for stage in $only; do
    echo "== $stage"
    started=$SECONDS
    passed_before=$passed
    failed_before=$failed
    "stage_$stage"
    echo "== $stage: $((passed - passed_before)) passed, $((failed - failed_before)) failed, $((SECONDS - started)) s"
done
echo
for failure in "${failures[@]}"; do
    echo "failed: $failure"
done
echo "all stages: $SECONDS s"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
