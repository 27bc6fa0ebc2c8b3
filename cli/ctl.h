/* What the commands of sopctl share: options, the open database, keys as text, walks over
 * items, progress. A command is a function struct sop_ctl -> code; main.c prints its error.
 *
 * Memory: a command that cannot get memory for its own bookkeeping reports NOMEM like the
 * library does. */
#ifndef SOP_CLI_CTL_H
#define SOP_CLI_CTL_H

#include "cli/args.h"
#include "cli/output.h"
#include "sop/sop.h"

/* Bits of struct sop_command.options; places in sop_ctl__options of commands.c. */
enum sop_ctl_option {
    OPT_DB,
    OPT_OUTPUT,
    OPT_DURABILITY,
    OPT_CACHE,
    OPT_QUIET,
    OPT_KEY,
    OPT_DUPLICATES,
    OPT_SLOT_LENGTH,
    OPT_VALUES,
    OPT_DESCRIPTION,
    OPT_BLOB_KEY,
    OPT_CUSTOM,
    OPT_CACHE_PAGE,
    OPT_CACHE_VALUE,
    OPT_CACHE_INFO,
    OPT_ADD,
    OPT_UPDATE,
    OPT_IF_ABSENT,
    OPT_RIDE,
    OPT_WITH_RIDE,
    OPT_FILE,
    OPT_ENCODING,
    OPT_ALL,
    OPT_FROM,
    OPT_AFTER,
    OPT_TO,
    OPT_THROUGH,
    OPT_PREFIX,
    OPT_REVERSE,
    OPT_LIMIT,
    OPT_POSITION,
    OPT_KEYS_ONLY,
    OPT_ESTIMATE,
    OPT_FORMAT,
    OPT_BATCH,
    OPT_SKIP,
    OPT_CREATE,
    OPT_KEY_COLUMNS,
    OPT_VALUE_COLUMN,
    OPT_NO_HEADER,
    OPT_ACKNOWLEDGED,
    OPT_DEEP,
    OPT_READ_ONLY,
    OPT_PROCESSES,
    OPT_HASH_MOD,
    OPT_MAX_BYTES,
    OPT_TAKE_OVER,
    OPT_DRY_RUN,
    OPT_COUNT,
};
#define OPT(name) (UINT64_C(1) << OPT_##name)

extern const struct sop_program sop_ctl__program;

struct sop_ctl {
    const struct sop_args *args;
    struct sop_out out;
    struct sop_db *db;
    struct sop_err err;
};

/* Bytes that grow. data is from malloc; free with sop_ctl__buf_fini. */
struct sop_ctl_buf {
    uint8_t *data;
    size_t len, room;
};
int sop_ctl__buf_add(struct sop_ctl_buf *buf, struct sop_slice bytes,
                     struct sop_err *err) SOP_MUST_USE;
/* Makes room for `more` bytes after len. */
int sop_ctl__buf_room(struct sop_ctl_buf *buf, size_t more, struct sop_err *err) SOP_MUST_USE;
void sop_ctl__buf_fini(struct sop_ctl_buf *buf);
static inline struct sop_slice sop_ctl__buf_slice(const struct sop_ctl_buf *buf)
{
    return (struct sop_slice){buf->data, buf->len};
}
struct sop_slice sop_ctl__slice(const char *text);

/* ---- the database ---------------------------------------------------------------------- */

enum sop_ctl_access {
    SOP_CTL_READ,   /* follows, without the lock and without writing a byte */
    SOP_CTL_WRITE,  /* owns */
    SOP_CTL_CREATE, /* owns; made if absent */
};
/* The folder: argument `at` if the command has that many, or --db, or $SOP_DB. */
int sop_ctl__path(struct sop_ctl *ctl, size_t at, const char **path);
/* Opens what --db or $SOP_DB names (or path if not NULL) into ctl->db; main.c closes it. */
int sop_ctl__open(struct sop_ctl *ctl, enum sop_ctl_access access, const char *path);
/* Opens, begins a transaction (reading or writing as access says) and opens the store named by
 * the first argument. On error nothing is left open but the database. */
struct sop_ctl_store {
    struct sop_txn *txn;
    struct sop_store *store;
    struct sop_store_info info;
};
int sop_ctl__open_store(struct sop_ctl *ctl, enum sop_ctl_access access,
                        struct sop_ctl_store *store);
/* The error of a store that is not there. */
int sop_ctl__no_store(struct sop_ctl *ctl);
/* Begins a transaction on the open database. */
int sop_ctl__begin(struct sop_ctl *ctl, enum sop_txn_mode mode, struct sop_txn **txn);
/* Commits and prints {"done": what, "items": n, "durable": ..., "lsn": ...} unless --quiet. */
int sop_ctl__commit(struct sop_ctl *ctl, struct sop_txn **txn, const char *what,
                    uint64_t items);
const char *sop_ctl__durable_text(enum sop_durability durability);

/* ---- keys and values as text ------------------------------------------------------------ */

/* A key or a value of the command line as --encoding says (text, hex, base64), without schema.
 */
int sop_ctl__decode(struct sop_ctl *ctl, const char *text, struct sop_ctl_buf *to);
/* Back, for tables: what decode would read as these bytes. Replaces what is in `to`. */
int sop_ctl__encode(struct sop_ctl *ctl, struct sop_slice bytes, struct sop_ctl_buf *to);
/* Does --encoding say anything but text? */
bool sop_ctl__encodes(const struct sop_ctl *ctl);
/* The encoded key of a text: by the schema of the store, raw keys by --encoding. */
int sop_ctl__key(struct sop_ctl *ctl, const struct sop_store_info *info, const char *text,
                 struct sop_ctl_buf *to);
/* As key, for the beginning of a composite key or the first bytes of a raw or string key. */
int sop_ctl__key_prefix(struct sop_ctl *ctl, const struct sop_store_info *info,
                        const char *text, struct sop_ctl_buf *to);
/* As key, but the last fields of a composite key may be absent: then *whole is false. */
int sop_ctl__key_bound(struct sop_ctl *ctl, const struct sop_store_info *info, const char *text,
                       struct sop_ctl_buf *to, bool *whole);
/* The encoded key of one text per field of the schema (one in all for raw keys); data NULL is
 * null where the field may be null. Adds to `to`. */
int sop_ctl__key_fields(const struct sop_store_info *info, const struct sop_slice *fields,
                        size_t count, struct sop_ctl_buf *to, struct sop_err *err);
/* The encoded key of a text in the form of sop_ctl__key_text(). Adds to `to`. */
int sop_ctl__key_whole(const struct sop_store_info *info, struct sop_slice text,
                       struct sop_ctl_buf *to, struct sop_err *err);
/* No field is nullable or of type any: each field of a key can be a text of its own. */
bool sop_ctl__schema_plain(const struct sop_key_schema *schema);
/* The fields of a key of a plain schema as texts, one after the other in `to` (replaced); field
 * i ends at ends[i]. */
int sop_ctl__key_columns(const struct sop_key_schema *schema, struct sop_slice key,
                         struct sop_ctl_buf *to, size_t *ends, struct sop_err *err);
/* A key as one text: raw, string and bytes keys are their bytes, others as sop_key_format()
 * makes them. Replaces what is in `to`. */
int sop_ctl__key_text(const struct sop_store_info *info, struct sop_slice key,
                      struct sop_ctl_buf *to, struct sop_err *err);
/* "int64,string" and back; "raw" for raw bytes. */
int sop_ctl__schema_parse(const char *text, struct sop_key_schema *schema, struct sop_err *err);
void sop_ctl__schema_text(const struct sop_key_schema *schema, char *text, size_t bytes);
/* {"key":..., "ride":... if there is one, "value":... unless keys_only}. */
int sop_ctl__item_json(const struct sop_store_info *info, const struct sop_view *view,
                       bool keys_only, struct sop_ctl_buf *scratch, json_t **out,
                       struct sop_err *err);

/* ---- walks ------------------------------------------------------------------------------- */

/* Called with each item; its value is loaded unless the walk is keys_only. Nonzero ends the
 * walk and is returned; SOP_CTL_STOP ends it with success. */
#define SOP_CTL_STOP 1
typedef int (*sop_ctl_item_fn)(void *arg, const struct sop_view *view, struct sop_err *err);
/* Walks what --from --after --to --through --prefix --reverse --limit --position say. */
int sop_ctl__walk(struct sop_ctl *ctl, struct sop_ctl_store *store, bool keys_only,
                  sop_ctl_item_fn each, void *arg);
/* Walks the items with this key: the first, or all of them in the order of insertion. */
int sop_ctl__walk_key(struct sop_ctl *ctl, struct sop_ctl_store *store, struct sop_slice key,
                      bool all, sop_ctl_item_fn each, void *arg);
/* True if an option restricts the walk to a part of the store. */
bool sop_ctl__walk_partial(const struct sop_ctl *ctl);

/* ---- progress -----------------------------------------------------------------------------
 */

/* A bar on a terminal, a line every few seconds elsewhere, nothing with --quiet; on stderr. */
struct sop_ctl_progress {
    const char *what, *unit; /* unit "B" prints sizes */
    bool on, tty, shown;
    uint64_t began_ns, shown_ns;
};
void sop_ctl__progress_init(struct sop_ctl_progress *p, const struct sop_ctl *ctl,
                            const char *what, const char *unit);
void sop_ctl__progress(struct sop_ctl_progress *p, uint64_t done, uint64_t total);
void sop_ctl__progress_end(struct sop_ctl_progress *p);
/* A sop_progress_fn; arg is a struct sop_ctl_progress. */
int sop_ctl__progress_fn(void *arg, const char *what, uint64_t done, uint64_t total);
uint64_t sop_ctl__now_ns(void);

/* ---- commands ------------------------------------------------------------------------------
 */

int sop_ctl__init(void *ctl, const struct sop_args *args);
int sop_ctl__store_create(void *ctl, const struct sop_args *args);
int sop_ctl__store_list(void *ctl, const struct sop_args *args);
int sop_ctl__store_info(void *ctl, const struct sop_args *args);
int sop_ctl__store_change(void *ctl, const struct sop_args *args);
int sop_ctl__store_drop(void *ctl, const struct sop_args *args);
int sop_ctl__put(void *ctl, const struct sop_args *args);
int sop_ctl__get(void *ctl, const struct sop_args *args);
int sop_ctl__del(void *ctl, const struct sop_args *args);
int sop_ctl__count(void *ctl, const struct sop_args *args);
int sop_ctl__scan(void *ctl, const struct sop_args *args);
int sop_ctl__load(void *ctl, const struct sop_args *args);
int sop_ctl__dump(void *ctl, const struct sop_args *args);
int sop_ctl__verify(void *ctl, const struct sop_args *args);
int sop_ctl__repair(void *ctl, const struct sop_args *args);
int sop_ctl__stats(void *ctl, const struct sop_args *args);
int sop_ctl__backup(void *ctl, const struct sop_args *args);
int sop_ctl__restore(void *ctl, const struct sop_args *args);
int sop_ctl__compact(void *ctl, const struct sop_args *args);
int sop_ctl__checkpoint(void *ctl, const struct sop_args *args);
int sop_ctl__doctor(void *ctl, const struct sop_args *args);
int sop_ctl__completion(void *ctl, const struct sop_args *args);

/* What load shares between its readers (load_csv.c, load_json.c) and its writer (cmd_load.c).
 */
int sop_ctl__store_options(struct sop_ctl *ctl, struct sop_store_options *options);
json_t *sop_ctl__store_json(const struct sop_store_info *info, bool with_items);

#endif
