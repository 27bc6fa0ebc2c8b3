/* `sop-bench compare`: the same work on SOP, on other engines and on two bounds.
 *
 * Each engine does each group of rows in a process of its own, so that memory, CPU time and
 * written bytes are its own; the engines take turns within each run. */
#include "bench/compare.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ITEMS_DEFAULT 1000000
#define ITEMS_MOST    UINT64_C(1000000000)
#define CACHE_DEFAULT (UINT64_C(1) << 30)
#define VALUE_BYTES   100
#define THREADS_MOST  80

static const bench_group_fn groups[BENCH_GROUPS] = {
    [GROUP_CLASSIC10K] = bench_classic10k,
    [GROUP_CLASSIC100K] = bench_classic100k,
    [GROUP_CORE] = bench_core,
    [GROUP_ORDERED] = bench_ordered,
    [GROUP_SINGLE] = bench_single,
    [GROUP_VALUES64K] = bench_values64k,
    [GROUP_VALUES1M] = bench_values1m,
    [GROUP_YCSB_RELAXED] = bench_ycsb_relaxed,
    [GROUP_YCSB_DURABLE] = bench_ycsb_durable,
    [GROUP_COLD] = bench_cold,
    [GROUP_OPEN] = bench_open,
};

/* ---- what is asked for ------------------------------------------------------------------ */

/* Calls each(arg, word) for the words between commas. */
static int each_word(const char *list, int (*each)(void *arg, const char *word, size_t len),
                     void *arg)
{
    int rc = 0;
    while (rc == 0 && *list != '\0') {
        size_t len = strcspn(list, ",");
        rc = len > 0 ? each(arg, list, len) : 0;
        list += len + (list[len] == ',');
    }
    return rc;
}

struct asked {
    struct bench_plan *plan;
    struct sop_err *err;
};

static bool named(const char *name, const char *word, size_t len)
{
    return strlen(name) == len && memcmp(name, word, len) == 0;
}

/* A row by its id, or all rows that begin with "id." */
static int want_row(void *arg, const char *word, size_t len)
{
    struct asked *a = arg;
    bool any = false;
    for (size_t row = 0; row < BENCH_ROWS; row++) {
        const char *id = bench_rows[row].id;
        if (named(id, word, len) || (strncmp(id, word, len) == 0 && id[len] == '.')) {
            a->plan->wanted[row] = any = true;
        }
    }
    if (any) {
        return 0;
    }
    char all[1024] = "";
    for (size_t row = 0; row < BENCH_ROWS; row++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, " %s", bench_rows[row].id);
    }
    return SOP_ERR(a->err, INVALID, "there is no row '%.*s'; there are%s", (int)len, word, all);
}

static int want_engine(void *arg, const char *word, size_t len)
{
    struct asked *a = arg;
    for (size_t i = 0; bench_engines[i] != NULL; i++) {
        if (named(bench_engines[i]->name, word, len)) {
            a->plan->engines[a->plan->engines_count++] = bench_engines[i];
            return a->plan->engines_count < BENCH_ENGINES_MAX
                       ? 0
                       : SOP_ERR(a->err, INVALID, "too many engines");
        }
    }
    for (size_t i = 0; i < bench_known_count; i++) {
        if (named(bench_known[i].name, word, len)) {
            return SOP_ERR(a->err, INVALID,
                           "'%.*s' was not built in; install %s and configure again", (int)len,
                           word, bench_known[i].package);
        }
    }
    return SOP_ERR(a->err, INVALID, "there is no engine '%.*s'", (int)len, word);
}

static int read_plan(struct bench_plan *plan, const struct sop_args *args, struct sop_err *err)
{
    const char *temporary = getenv("TMPDIR");
    memset(plan, 0, sizeof *plan);
    plan->quick = args->given[OPT_QUICK];
    plan->manual = args->given[OPT_MANUAL];
    plan->items = args->given[OPT_ITEMS] ? args->number[OPT_ITEMS]
                  : plan->quick          ? ITEMS_DEFAULT / 10
                                         : ITEMS_DEFAULT;
    plan->cache_bytes = args->given[OPT_CACHE] ? args->number[OPT_CACHE] : CACHE_DEFAULT;
    plan->runs = args->given[OPT_RUNS] ? (unsigned)args->number[OPT_RUNS] : plan->quick ? 1 : 3;
    plan->dir = args->given[OPT_DIR] ? args->text[OPT_DIR]
                : temporary != NULL  ? temporary
                                     : "/tmp";
    if (plan->items < 1000 || plan->items > ITEMS_MOST || plan->runs < 1 || plan->runs > 100) {
        return SOP_ERR(err, INVALID, "--items is 1000 to 1000M, --runs 1 to 100");
    }
    struct asked asked = {plan, err};
    int rc = 0;
    if (args->given[OPT_ENGINES]) {
        rc = each_word(args->text[OPT_ENGINES], want_engine, &asked);
    } else {
        for (size_t i = 0; bench_engines[i] != NULL; i++) {
            plan->engines[plan->engines_count++] = bench_engines[i];
        }
    }
    if (rc == 0 && args->given[OPT_ONLY]) {
        return each_word(args->text[OPT_ONLY], want_row, &asked);
    }
    for (size_t row = 0; row < BENCH_ROWS; row++) {
        plan->wanted[row] = true;
    }
    return rc;
}

/* ---- processes -------------------------------------------------------------------------- */

static int work(const struct bench_plan *plan, const struct bench_engine *engine,
                enum bench_group group, unsigned run, const char *folder,
                struct bench_result *results)
{
    struct bench_task task = {
        .plan = plan,
        .engine = engine,
        .run = run,
        .results = results,
        .setup = {.folder = folder,
                  .create = true,
                  .durable = true,
                  .manual = plan->manual,
                  .cache_bytes = plan->cache_bytes,
                  .items = plan->items,
                  .value_bytes = VALUE_BYTES,
                  .data_bytes = plan->items * (BENCH_KEY_BYTES + VALUE_BYTES),
                  .threads = THREADS_MOST},
    };
    bench_keys_init(&task.keys, plan->items);
    task.base_bytes = bench_resident_bytes();
    return groups[group](&task);
}

/* Runs a group in a child; results are in shared memory. False: it failed. */
static bool run_child(const struct bench_plan *plan, const struct bench_engine *engine,
                      enum bench_group group, unsigned run, struct bench_result *results)
{
    char folder[4096];
    int len = snprintf(folder, sizeof folder, "%s/sop-bench-XXXXXX", plan->dir);
    if (len < 0 || (size_t)len >= sizeof folder || mkdtemp(folder) == NULL) {
        bench_fail("make a folder in '%s': %s", plan->dir, strerror(errno));
        return false;
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        int rc = work(plan, engine, group, run, folder, results);
        fflush(stdout);
        _exit(rc == 0 ? 0 : 1);
    }
    int status = 1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    bench_folder_remove(folder);
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* One run of all groups; engines take turns, and another begins each run. */
static unsigned run_once(const struct bench_plan *plan, unsigned run,
                         struct bench_result *const *results)
{
    unsigned failures = 0;
    for (enum bench_group g = 0; g < BENCH_GROUPS; g++) {
        if (!bench_any_wanted(plan, g)) {
            continue;
        }
        for (size_t i = 0; i < plan->engines_count; i++) {
            size_t e = (i + run) % plan->engines_count;
            uint64_t before = sop_bench__now_ns();
            bool ok = run_child(plan, plan->engines[e], g, run, results[e] + run * BENCH_ROWS);
            fprintf(stderr, "run %u of %u, group %u of %u, %s: %.1f s%s\n", run + 1, plan->runs,
                    (unsigned)g + 1, (unsigned)BENCH_GROUPS, plan->engines[e]->name,
                    (double)(sop_bench__now_ns() - before) / 1e9, ok ? "" : ": FAILED");
            failures += !ok;
        }
    }
    return failures;
}

static int measure(struct bench_report *report, struct sop_err *err)
{
    const struct bench_plan *plan = report->plan;
    size_t bytes = (size_t)plan->runs * BENCH_ROWS * sizeof(struct bench_result);
    struct bench_result *results[BENCH_ENGINES_MAX];
    for (size_t i = 0; i < plan->engines_count; i++) {
        results[i] =
            mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (results[i] == MAP_FAILED) { // NOLINT(performance-no-int-to-ptr)
            return SOP_ERR(err, NOMEM, "hold the results");
        }
    }
    for (unsigned run = 0; run < plan->runs; run++) {
        report->failures += run_once(plan, run, results);
    }
    for (size_t i = 0; i < plan->engines_count; i++) {
        for (enum bench_row row = 0; row < BENCH_ROWS; row++) {
            bench_summarize(&report->of[row][i], results[i], plan->runs, row);
        }
        munmap(results[i], bytes);
    }
    return 0;
}

static int write_json(const struct bench_report *report, const char *path, struct sop_err *err)
{
    json_t *j = bench_report_json(report);
    int rc = path == NULL ? json_dumpf(j, stdout, JSON_INDENT(2))
                          : json_dump_file(j, path, JSON_INDENT(2));
    json_decref(j);
    return rc == 0 ? 0 : SOP_ERR(err, IO, "write '%s'", path != NULL ? path : "the output");
}

int sop_bench__compare(void *context, const struct sop_args *args)
{
    struct sop_err *err = context;
    struct bench_plan plan;
    int rc = read_plan(&plan, args, err);
    if (rc != 0) {
        return rc;
    }
    struct bench_report *report = calloc(1, sizeof *report);
    if (report == NULL) {
        return SOP_ERR(err, NOMEM, "hold the report");
    }
    report->plan = &plan;
    rc = measure(report, err);
    bool json = args->given[OPT_OUTPUT] && args->text[OPT_OUTPUT][0] == 'j';
    if (rc == 0 && !json) {
        bench_print(report);
    }
    if (rc == 0 && (json || args->given[OPT_JSON])) {
        rc = write_json(report, args->given[OPT_JSON] ? args->text[OPT_JSON] : NULL, err);
    }
    if (rc == 0 && args->given[OPT_SVG]) {
        rc = bench_svg(report, args->text[OPT_SVG], err);
    }
    if (rc == 0 && report->failures > 0) {
        rc = SOP_ERR(err, IO, "%u runs failed", report->failures);
    }
    free(report);
    return rc;
}
