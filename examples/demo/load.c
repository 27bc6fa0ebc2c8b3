/* Loading facts, counting them again, asking questions. */
#include "examples/demo/demo.h"
#include "examples/demo/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- loading ----------------------------------------------------------------------------- */

static int make_stores(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    const struct demo_load *load = arg;
    struct sop_store *store;
    struct sop_store_options options;
    sop_store_options_init(&options);
    demo_fact_schema(&options.key);
    options.description = "code point, property";
    int rc = sop_store_create(&store, txn, load->stores.facts, &options, err);
    if (rc != 0) {
        return rc;
    }
    sop_store_options_init(&options);
    demo_value_schema(&options.key);
    options.unique = false;
    options.description = "property, value: the code points that have it";
    return sop_store_create(&store, txn, load->stores.by_value, &options, err);
}

int demo_load_begin(struct demo_load *load, struct sop_db *db, struct sop_err *err)
{
    load->batches = (load->unicode->count + load->batch_facts - 1) / load->batch_facts;
    return sop_txn_run(db, NULL, 0, make_stores, load, NULL, err);
}

struct batch {
    const struct demo_load *load;
    size_t from, to;
};

static int load_fact(const struct unicode *u, size_t i, struct sop_store *facts,
                     struct sop_store *by_value, struct sop_err *err)
{
    struct demo_key key;
    const char *value = unicode_value(u, i);
    int rc = demo_fact_key(&key, u->facts[i].code, unicode_property(u, i), err);
    struct sop_entry entry = {.key = {key.bytes, key.len},
                              .value = {(const uint8_t *)value, strlen(value)}};
    if (rc == 0) {
        rc = sop_add(facts, &entry, err);
    }
    if (rc == 0) {
        rc = demo_value_key(&key, unicode_property(u, i), value, err);
    }
    if (rc == 0) {
        char code[16];
        int len = snprintf(code, sizeof code, "U+%04" PRIX32, u->facts[i].code);
        entry.key = (struct sop_slice){key.bytes, key.len};
        entry.value = (struct sop_slice){(const uint8_t *)code, (size_t)len};
        rc = sop_add(by_value, &entry, err);
    }
    return rc;
}

static int write_batch(void *arg, struct sop_txn *txn, struct sop_err *err)
{
    const struct batch *b = arg;
    struct sop_store *facts, *by_value;
    int rc = sop_store_open(&facts, txn, b->load->stores.facts, err);
    if (rc == 0) {
        rc = sop_store_open(&by_value, txn, b->load->stores.by_value, err);
    }
    for (size_t i = b->from; i < b->to && rc == 0; i++) {
        rc = load_fact(b->load->unicode, i, facts, by_value, err);
    }
    return rc;
}

int demo_load_batch(const struct demo_load *load, struct sop_db *db, size_t batch,
                    struct sop_err *err)
{
    struct batch b = {load, batch * load->batch_facts, demo_batch_end(load, batch)};
    return sop_txn_run(db, NULL, 0, write_batch, &b, NULL, err);
}

/* ---- counting again -----------------------------------------------------------------------
 */

int demo_recount(const struct demo_load *load, struct sop_txn *txn, size_t batch, size_t *found,
                 struct sop_err *err)
{
    const struct unicode *u = load->unicode;
    struct sop_store *facts;
    *found = 0;
    int rc = sop_store_open(&facts, txn, load->stores.facts, err);
    for (size_t i = batch * load->batch_facts; i < demo_batch_end(load, batch) && rc == 0;
         i++) {
        struct demo_key key;
        struct sop_view view;
        rc = demo_fact_key(&key, u->facts[i].code, unicode_property(u, i), err);
        if (rc != 0) {
            break;
        }
        rc = sop_get(facts, (struct sop_slice){key.bytes, key.len}, &view, err);
        if (rc == SOP_ERR_NOT_FOUND) {
            rc = 0;
            continue;
        }
        const char *value = unicode_value(u, i);
        if (rc == 0 && (view.value.len != strlen(value) ||
                        memcmp(view.value.data, value, view.value.len) != 0)) {
            rc = SOP_ERR(err, DATA_LOSS, "wrong value of U+%04" PRIX32 " %s", u->facts[i].code,
                         unicode_property(u, i));
        }
        *found += rc == 0;
    }
    return rc;
}

int demo_count(struct sop_txn *txn, const char *store, uint64_t *items, struct sop_err *err)
{
    struct sop_store *opened;
    int rc = sop_store_open(&opened, txn, store, err);
    return rc == 0 ? sop_store_count(opened, false, items, err) : rc;
}

/* ---- questions ------------------------------------------------------------------------------
 */

static double milliseconds(double since)
{
    return (demo_seconds() - since) * 1000;
}

/* Prints the facts of one code point, at most `show` of them. */
static int ask_code(struct sop_store *facts, uint32_t code, size_t show, struct sop_err *err)
{
    struct demo_key prefix;
    struct sop_range_options options;
    struct sop_range *range;
    double began = demo_seconds();
    int rc = demo_code_prefix(&prefix, code, err);
    if (rc != 0) {
        return rc;
    }
    sop_range_options_init(&options);
    options.low = (struct sop_slice){prefix.bytes, prefix.len};
    options.prefix = true;
    rc = sop_range_open(&range, facts, &options, err);
    size_t count = 1, seen = 0;
    while (rc == 0 && count > 0) {
        struct sop_view views[64];
        rc = sop_range_next(range, views, 64, &count, err);
        if (seen == 0) {
            demo_done("U+%04" PRIX32 ", the first of its properties (%.2f ms):", code,
                      milliseconds(began));
        }
        for (size_t i = 0; i < count && rc == 0; i++, seen++) {
            if (seen < show) {
                rc = demo_print_fact(views[i].key, views[i].value, err);
            }
        }
    }
    if (rc == 0) {
        demo_done("  ... and %zu more", seen > show ? seen - show : 0);
    }
    sop_range_close(&range);
    return rc;
}

static int ask_value(struct sop_store *by_value, const char *property, const char *value,
                     struct sop_err *err)
{
    struct demo_key key;
    struct sop_range_options options;
    struct sop_range *range;
    double began = demo_seconds();
    int rc = demo_value_key(&key, property, value, err);
    if (rc != 0) {
        return rc;
    }
    sop_range_options_init(&options);
    options.low = (struct sop_slice){key.bytes, key.len};
    options.high = options.low;
    options.high_closed = true;
    rc = sop_range_open(&range, by_value, &options, err);
    uint64_t seen = 0;
    char first[160] = "";
    size_t count = 1;
    while (rc == 0 && count > 0) {
        struct sop_view views[256];
        rc = sop_range_next(range, views, 256, &count, err);
        for (size_t i = 0; i < count; i++, seen++) {
            if (seen < 6) {
                size_t used = strlen(first);
                snprintf(first + used, sizeof first - used, "%s%.*s", seen > 0 ? " " : "",
                         (int)views[i].value.len, (const char *)views[i].value.data);
            }
        }
    }
    sop_range_close(&range);
    if (rc == 0) {
        demo_done("%s = %s: %s code points in %.2f ms: %s%s", property, value,
                  demo_number(seen), milliseconds(began), first, seen > 6 ? " ..." : "");
    }
    return rc;
}

static int ask_one(struct sop_store *facts, uint32_t code, const char *property,
                   struct sop_err *err)
{
    struct demo_key key;
    struct sop_view view;
    double began = demo_seconds();
    int rc = demo_fact_key(&key, code, property, err);
    if (rc == 0) {
        rc = sop_get(facts, (struct sop_slice){key.bytes, key.len}, &view, err);
    }
    if (rc == 0) {
        demo_done("%s of U+%04" PRIX32 ": %.*s (%.3f ms)", property, code, (int)view.value.len,
                  (const char *)view.value.data, milliseconds(began));
    }
    return rc;
}

static int ask_position(struct sop_store *facts, uint64_t position, struct sop_err *err)
{
    struct sop_cursor *c;
    struct sop_view view;
    double began = demo_seconds();
    int rc = sop_cursor_open(&c, facts, err);
    if (rc != 0) {
        return rc;
    }
    rc = sop_cursor_seek(c, position, err);
    if (rc == 0) {
        rc = sop_cursor_item(c, &view, err);
    }
    if (rc == 0) {
        demo_done("fact number %s (%.2f ms):", demo_number(position), milliseconds(began));
        rc = demo_print_fact(view.key, view.value, err);
    }
    sop_cursor_close(&c);
    return rc;
}

static int ask_count(const struct demo_load *load, struct sop_txn *txn, struct sop_err *err)
{
    uint64_t facts = 0, values = 0;
    double began = demo_seconds();
    int rc = demo_count(txn, load->stores.facts, &facts, err);
    if (rc == 0) {
        rc = demo_count(txn, load->stores.by_value, &values, err);
    }
    if (rc != 0) {
        return rc;
    }
    demo_done("%s facts, %s items by value (counted in %.2f ms)", demo_number(facts),
              demo_number(values), milliseconds(began));
    return facts == load->unicode->count && values == facts
               ? 0
               : SOP_ERR(err, DATA_LOSS, "there should be %zu of each", load->unicode->count);
}

/* Reads every fact in key order and compares it with the file it came from. */
static int scan_all(const struct demo_load *load, struct sop_store *facts, struct sop_err *err)
{
    const struct unicode *u = load->unicode;
    struct sop_range_options options;
    struct sop_range *range;
    sop_range_options_init(&options);
    double began = demo_seconds();
    int rc = sop_range_open(&range, facts, &options, err);
    size_t seen = 0, count = 1;
    while (rc == 0 && count > 0) {
        struct sop_view views[256];
        rc = sop_range_next(range, views, 256, &count, err);
        for (size_t i = 0; i < count && rc == 0; i++, seen++) {
            const char *value = seen < u->count ? unicode_value(u, seen) : "";
            if (seen >= u->count || views[i].value.len != strlen(value) ||
                memcmp(views[i].value.data, value, views[i].value.len) != 0) {
                rc = SOP_ERR(err, DATA_LOSS, "fact number %zu is wrong", seen);
            }
        }
    }
    sop_range_close(&range);
    if (rc == 0 && seen != u->count) {
        rc = SOP_ERR(err, DATA_LOSS, "%zu facts instead of %zu", seen, u->count);
    }
    double took = milliseconds(began);
    if (rc == 0) {
        demo_done("scanned and compared all %s facts in %.0f ms (%s a second)",
                  demo_number(seen), took, demo_number((uint64_t)((double)seen / took * 1000)));
    }
    return rc;
}

static int ask_all(const struct demo_load *load, struct sop_txn *txn, struct sop_err *err)
{
    struct sop_store *facts, *by_value;
    int rc = sop_store_open(&facts, txn, load->stores.facts, err);
    if (rc == 0) {
        rc = sop_store_open(&by_value, txn, load->stores.by_value, err);
    }
    if (rc == 0) {
        rc = ask_one(facts, 0x4E2D, "kDefinition", err);
    }
    if (rc == 0) {
        rc = ask_one(facts, 0x4E2D, "kMandarin", err);
    }
    if (rc == 0) {
        rc = ask_code(facts, 0x4E2D, 8, err);
    }
    if (rc == 0) {
        rc = ask_code(facts, 0x41, 8, err);
    }
    if (rc == 0) {
        rc = ask_value(by_value, "Script", "Cherokee", err);
    }
    if (rc == 0) {
        rc = ask_value(by_value, "Block", "Braille Patterns", err);
    }
    if (rc == 0) {
        rc = ask_value(by_value, "kTotalStrokes", "30", err);
    }
    if (rc == 0) {
        size_t count = load->unicode->count;
        rc = ask_position(facts, count > 1000000 ? 1000000 : count / 2, err);
    }
    if (rc == 0) {
        rc = ask_count(load, txn, err);
    }
    return rc == 0 ? scan_all(load, facts, err) : rc;
}

int demo_questions(const struct demo_load *load, struct sop_db *db, struct sop_err *err)
{
    struct sop_txn_options options;
    struct sop_txn *txn;
    sop_txn_options_init(&options);
    options.mode = SOP_READ;
    int rc = sop_txn_begin(&txn, db, &options, err);
    if (rc == 0) {
        rc = ask_all(load, txn, err);
        sop_txn_rollback(&txn);
    }
    return rc;
}
