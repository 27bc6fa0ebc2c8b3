/* sop-bench: benchmarks of the library. `classic` is the benchmark that the original publishes.
 */
#include "bench/bench.h"

#include <stdlib.h>
#include <string.h>

static const struct sop_arg_option options[OPT_OPTIONS] = {
    [OPT_COUNT_ITEMS] = {"count", 'n', SOP_ARG_COUNT, "N", NULL, "items (default 100000)"},
    [OPT_SLOT] = {"slot-length", 0, SOP_ARG_COUNT, "ITEMS", NULL,
                  "most items of a page (default 2000)"},
    [OPT_SWEEP] = {"sweep", 0, SOP_ARG_FLAG, NULL, NULL,
                   "both published tables: 10,000 and 100,000 items by slot lengths 1,000 to "
                   "5,000, beside the published figures"},
    [OPT_THREADS] =
        {"threads", 't', SOP_ARG_COUNT, "N", NULL,
         "threads, each with its own transactions and share of the keys (default 1)"},
    [OPT_VALUE_SIZE] = {"value-size", 0, SOP_ARG_BYTES, "BYTES", NULL,
                        "pad or cut values to this size (default: value_%d as it is)"},
    [OPT_DISTRIBUTION] =
        {"distribution", 0, SOP_ARG_CHOICE, "D", "sequential|random|zipfian",
         "order of the keys; zipfian reads some keys often (default sequential)"},
    [OPT_RUNS] = {"runs", 'r', SOP_ARG_COUNT, "N", NULL,
                  "runs, of which the median is shown (default 3)"},
    [OPT_DURABILITY] = {"durability", 0, SOP_ARG_CHOICE, "LEVEL", "commit|interval|none",
                        "what an acknowledged commit survives (default commit: power loss)"},
    [OPT_DIR] = {"dir", 'd', SOP_ARG_FILE, "FOLDER", NULL,
                 "where the databases are made and removed (default TMPDIR or /tmp)"},
    [OPT_CACHE] = {"cache", 0, SOP_ARG_BYTES, "BYTES", NULL,
                   "cache budget (default 256M; compare: 1G)"},
    [OPT_SEED] = {"seed", 0, SOP_ARG_COUNT, "N", NULL, "of the random order (default 1)"},
    [OPT_NO_LATENCY] =
        {"no-latency", 0, SOP_ARG_FLAG, NULL, NULL,
         "do not time single operations (about 25 ns each); the sweep never does"},
    [OPT_ITEMS] = {"items", 0, SOP_ARG_COUNT, "N", NULL,
                   "items of the databases that are compared (default 1M)"},
    [OPT_ONLY] = {"only", 0, SOP_ARG_TEXT, "ROW,...", NULL,
                  "only these rows, or all that begin with ROW and a dot"},
    [OPT_ENGINES] = {"engines", 0, SOP_ARG_TEXT, "ENGINE,...", NULL,
                     "only these engines and bounds (default all that were built in)"},
    [OPT_QUICK] = {"quick", 0, SOP_ARG_FLAG, NULL, NULL,
                   "one run, 100k items, a tenth of the operations: a look, no measurement"},
    [OPT_MANUAL] = {"manual", 0, SOP_ARG_FLAG, NULL, NULL,
                    "SOP without its maintenance thread: fixed work is the same instructions"},
    [OPT_JSON] = {"json", 0, SOP_ARG_FILE, "FILE", NULL, "write the results there, too"},
    [OPT_SVG] = {"svg", 0, SOP_ARG_FILE, "FILE", NULL, "draw the results"},
    [OPT_OUTPUT] = {"output", 'o', SOP_ARG_CHOICE, "FORMAT", "table|json", "default table"},
};

#define CLASSIC_OPTIONS                                                                        \
    (OPT(COUNT_ITEMS) | OPT(SLOT) | OPT(SWEEP) | OPT(THREADS) | OPT(VALUE_SIZE) |              \
     OPT(DISTRIBUTION) | OPT(RUNS) | OPT(DURABILITY) | OPT(DIR) | OPT(CACHE) | OPT(SEED) |     \
     OPT(NO_LATENCY))
#define COMPARE_OPTIONS                                                                        \
    (OPT(ITEMS) | OPT(ONLY) | OPT(ENGINES) | OPT(QUICK) | OPT(MANUAL) | OPT(JSON) | OPT(SVG) | \
     OPT(RUNS) | OPT(DIR) | OPT(CACHE))

static const struct sop_command commands[] = {
    {"classic", "", 0, 0, CLASSIC_OPTIONS,
     "the published benchmark: N string items, inserted, read, deleted",
     "Items are key_%d with value_%d. Inserts are one transaction: begin, N adds, commit; "
     "reads "
     "N gets in a reading transaction; deletes begin, N removes, commit. Figures are "
     "operations "
     "a second with begin and commit in the time. Every value read is compared and counts are "
     "checked after each phase.",
     "sop-bench classic\n"
     "sop-bench classic --sweep\n"
     "sop-bench classic --count 1M --distribution random --threads 2\n"
     "sop-bench classic --sweep --durability none -o json",
     sop_bench__classic},
    {"compare", "", 0, 0, COMPARE_OPTIONS,
     "the same work on SOP, other embedded engines and two bounds",
     "Engines: sop, lmdb, rocksdb, leveldb, sqlite, wiredtiger, as far as they were there when "
     "sop-bench was built; bounds: journal (append and sync, nothing else) and memory (an "
     "ordered map in memory, with that journal).\n"
     "Each with its best honest settings at equal durability; the report states them. Engines "
     "take turns within a run, each in a process of its own. Everything found is checked "
     "against its key, everything written is looked for.\n"
     "Keys have 16 random bytes, values 100, unless the row says otherwise.",
     "sop-bench compare --json compare.json --svg compare.svg\n"
     "sop-bench compare --only read1,scan --engines sop,lmdb\n"
     "sop-bench compare --items 10M --only load_random,ycsb_a\n"
     "sop-bench compare --quick",
     sop_bench__compare},
    {"completion", "SHELL", 1, 1, 0, "print the completion script of bash, zsh or fish",
     "'mdoc' prints the man page.", "source <(sop-bench completion bash)",
     sop_bench__completion},
};

const struct sop_program sop_bench__program = {
    .name = "sop-bench",
    .purpose = "measure the SOP database",
    .details = "Databases are made in a temporary folder and removed. Results state the "
               "durability they were measured with.",
    .options = options,
    .options_count = OPT_OPTIONS,
    .globals = OPT(OUTPUT),
    .commands = commands,
    .commands_count = sizeof commands / sizeof commands[0],
    .manual = ".Sh EXIT STATUS\n.Ex -std\n.Sh SEE ALSO\n.Xr sopctl 1\n",
};

static uint64_t number(const struct sop_args *args, enum sop_bench_option o, uint64_t otherwise)
{
    return args->given[o] ? args->number[o] : otherwise;
}

static int read_config(const struct sop_args *args, struct sop_bench_config *c,
                       struct sop_err *err)
{
    memset(c, 0, sizeof *c);
    uint64_t count = number(args, OPT_COUNT_ITEMS, 100000);
    uint64_t slots = number(args, OPT_SLOT, 2000);
    uint64_t threads = number(args, OPT_THREADS, 1);
    uint64_t runs = number(args, OPT_RUNS, 3);
    if (count < threads || threads < 1 || threads > 256 || count > 1000000000 || runs < 1 ||
        runs > 1000 || slots > 20000 || number(args, OPT_VALUE_SIZE, 0) > 1u << 30) {
        return SOP_ERR(err, INVALID,
                       "--count is 1 to 1000M, --threads 1 to 256, --runs 1 to 1000, "
                       "--slot-length 2 to 20000, --value-size up to 1G");
    }
    c->count = (size_t)count;
    c->slot_length = (uint32_t)slots;
    c->threads = (unsigned)threads;
    c->runs = (unsigned)runs;
    c->value_size = (size_t)number(args, OPT_VALUE_SIZE, 0);
    c->seed = number(args, OPT_SEED, 1);
    c->cache_bytes = number(args, OPT_CACHE, 0);
    c->latency = !args->given[OPT_NO_LATENCY] && !args->given[OPT_SWEEP];
    const char *d = args->text[OPT_DISTRIBUTION];
    while (d != NULL && strcmp(sop_bench__distributions[c->distribution], d) != 0) {
        c->distribution++;
    }
    const char *level = args->text[OPT_DURABILITY];
    if (level != NULL) {
        c->durability = level[0] == 'n'   ? SOP_DURABLE_NONE
                        : level[0] == 'i' ? SOP_DURABLE_INTERVAL
                                          : SOP_DURABLE_COMMIT;
    }
    const char *temporary = getenv("TMPDIR");
    c->dir = args->given[OPT_DIR] ? args->text[OPT_DIR]
             : temporary != NULL  ? temporary
                                  : "/tmp";
    return 0;
}

int sop_bench__classic(void *context, const struct sop_args *args)
{
    struct sop_err *err = context;
    struct sop_bench_config config;
    int rc = read_config(args, &config, err);
    if (rc != 0) {
        return rc;
    }
    bool json = args->given[OPT_OUTPUT] && args->text[OPT_OUTPUT][0] == 'j';
    json_t *rows = json ? json_array() : NULL;
    if (!json) {
        sop_bench__print_config(&config);
    }
    if (args->given[OPT_SWEEP]) {
        rc = sop_bench__sweep(&config, rows, err);
    } else {
        struct sop_bench_result *result = malloc(sizeof *result);
        rc = result != NULL ? sop_bench__median(&config, result, err)
                            : SOP_ERR(err, NOMEM, "hold a result");
        if (rc == 0 && json) {
            json_array_append_new(rows, sop_bench__result_json(&config, result));
        } else if (rc == 0) {
            sop_bench__print_result(&config, result);
        }
        free(result);
    }
    if (json && rc == 0) {
        json_t *whole = sop_bench__config_json(&config);
        json_object_set(whole, "results", rows);
        json_dumpf(whole, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(whole);
    }
    json_decref(rows);
    return rc;
}

int sop_bench__completion(void *context, const struct sop_args *args)
{
    return sop_args_complete(stdout, &sop_bench__program, args->rest[0])
               ? 0
               : SOP_ERR((struct sop_err *)context, INVALID,
                         "completion is there for bash, zsh and fish");
}

int main(int argc, char **argv)
{
    const char **words = calloc((size_t)argc + 1, sizeof *words);
    if (words == NULL) {
        return 1;
    }
    for (int i = 0; i < argc; i++) {
        words[i] = argv[i];
    }
    struct sop_args args;
    struct sop_err err = {.code = 0};
    char message[256];
    int rc = 0;
    if (!sop_args_parse(&args, &sop_bench__program, argc, words, message, sizeof message)) {
        rc = SOP_ERR(&err, INVALID, "%s", message);
    } else if (args.version) {
        printf("sop-bench %s\n", sop_version());
    } else if (args.help) {
        sop_args_help(stdout, &sop_bench__program, args.command);
    } else {
        rc = args.command->run(&err, &args);
    }
    if (rc != 0) {
        fprintf(stderr, "sop-bench: %s [%s]\n", err.text, sop_err_name(rc));
    }
    free(words);
    return rc == 0 ? 0 : rc == SOP_ERR_INVALID ? 2 : 1;
}
