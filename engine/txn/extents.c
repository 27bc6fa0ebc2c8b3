/* Extents in use; see extents.h. */
#include "engine/txn/extents.h"

void sop_extents_init(struct sop_extents *x, struct sop_volume *v, struct sop_cache *c,
                      const uint8_t database_id[16])
{
    memset(x, 0, sizeof *x);
    x->volume = v;
    x->cache = c;
    memcpy(x->database_id, database_id, sizeof x->database_id);
    sop_mutex_init(&x->mutex, SOP_RANK_CHAIN);
}

static void forget(struct sop_extents *x, size_t i)
{
    if (x->loaded[i] != NULL) {
        sop_cache_charge(x->cache, -(int64_t)sizeof(struct sop_extent));
        sop_free(x->loaded[i]);
        x->loaded[i] = NULL;
    }
}

void sop_extents_fini(struct sop_extents *x)
{
    for (size_t i = 0; i < SOP_EXTENTS_LOADED_MAX; i++) {
        forget(x, i);
    }
    sop_free(x->refs);
    sop_mutex_fini(&x->mutex);
    memset(x, 0, sizeof *x);
}

void sop_extents_take(struct sop_extents *x, struct sop_extent_ref *take_refs, size_t count)
{
    sop_mutex_lock(&x->mutex);
    sop_free(x->refs);
    x->refs = take_refs;
    x->count = count;
    for (size_t i = 0; i < SOP_EXTENTS_LOADED_MAX; i++) {
        forget(x, i);
    }
    sop_mutex_unlock(&x->mutex);
}

int sop_extents_set(struct sop_extents *x, const struct sop_extent_ref *refs, size_t count,
                    struct sop_err *err)
{
    struct sop_extent_ref *copy = sop_malloc((count + 1) * sizeof *copy);
    if (copy == NULL) {
        return SOP_ERR(err, NOMEM, "list %zu extents", count);
    }
    if (count > 0) {
        memcpy(copy, refs, count * sizeof *copy);
    }
    sop_extents_take(x, copy, count);
    return 0;
}

static const struct sop_extent_ref *find_ref(const struct sop_extents *x, uint64_t extent)
{
    size_t low = 0;
    size_t high = x->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (x->refs[middle].extent < extent) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < x->count && x->refs[low].extent == extent ? &x->refs[low] : NULL;
}

/* The loaded extent of ref, read if needed. Mutex held. */
static int load(struct sop_extents *x, const struct sop_extent_ref *ref,
                struct sop_extent **out, struct sop_err *err)
{
    size_t oldest = 0;
    for (size_t i = 0; i < SOP_EXTENTS_LOADED_MAX; i++) {
        if (x->loaded[i] != NULL && x->loaded[i]->extent == ref->extent) {
            x->used_at[i] = ++x->clock;
            *out = x->loaded[i];
            return 0;
        }
        if (x->loaded[i] == NULL ||
            (x->loaded[oldest] != NULL && x->used_at[i] < x->used_at[oldest])) {
            oldest = i;
        }
    }
    struct sop_extent *extent = sop_calloc(1, sizeof *extent);
    if (extent == NULL) {
        return SOP_ERR(err, NOMEM, "read extent %" PRIu64, ref->extent);
    }
    int rc = sop_extent_read(x->volume, x->database_id, ref, extent, err);
    if (rc != 0) {
        sop_free(extent);
        return rc;
    }
    forget(x, oldest);
    sop_cache_charge(x->cache, (int64_t)sizeof *extent);
    x->loaded[oldest] = extent;
    x->used_at[oldest] = ++x->clock;
    *out = extent;
    return 0;
}

int sop_extents_handle(struct sop_extents *x, uint64_t page, struct sop_handle *out,
                       struct sop_err *err)
{
    memset(out, 0, sizeof *out);
    int rc = 0;
    sop_mutex_lock(&x->mutex);
    const struct sop_extent_ref *ref = find_ref(x, page / SOP_EXTENT_HANDLES);
    if (ref != NULL) {
        struct sop_extent *extent = NULL;
        rc = load(x, ref, &extent, err);
        if (rc == 0) {
            *out = extent->handles[page % SOP_EXTENT_HANDLES];
        }
    }
    sop_mutex_unlock(&x->mutex);
    return rc;
}

int sop_extents_check(struct sop_extents *x, struct sop_lsn lsn, uint64_t member,
                      struct sop_err *err)
{
    int rc = 0;
    for (size_t i = x->count; i-- > 0 && rc == 0;) { /* the first ones are needed next */
        const struct sop_extent_ref *ref = &x->refs[i];
        struct sop_extent *extent = NULL;
        if (ref->member == member && sop_lsn_cmp(ref->lsn, lsn) == 0) {
            sop_mutex_lock(&x->mutex);
            rc = load(x, ref, &extent, err);
            sop_mutex_unlock(&x->mutex);
        }
    }
    return rc;
}

static bool extent_empty(const struct sop_extent *x)
{
    for (size_t i = 0; i < SOP_EXTENT_HANDLES; i++) {
        if (x->handles[i].lsn.slot != 0) {
            return false;
        }
    }
    return true;
}

/* Fills *work with the present content of an extent. */
static int read_current(struct sop_extents *x, uint64_t number, struct sop_extent *work,
                        struct sop_err *err)
{
    memset(work, 0, sizeof *work);
    work->extent = number;
    sop_mutex_lock(&x->mutex);
    const struct sop_extent_ref *found = find_ref(x, number);
    struct sop_extent_ref ref = found != NULL ? *found : (struct sop_extent_ref){0};
    sop_mutex_unlock(&x->mutex);
    return found == NULL ? 0 : sop_extent_read(x->volume, x->database_id, &ref, work, err);
}

int sop_extents_write(struct sop_extents *x, struct sop_handle_change *changes, size_t count,
                      struct sop_lsn lsn, uint64_t member, struct sop_extent_ref **refs,
                      size_t *refs_count, struct sop_err *err)
{
    int rc = 0;
    size_t old_at = 0;
    size_t n = 0;
    struct sop_extent *work = sop_malloc(sizeof *work);
    struct sop_extent_ref *list = sop_malloc((x->count + count + 1) * sizeof *list);
    if (work == NULL || list == NULL) {
        rc = SOP_ERR(err, NOMEM, "write extents");
        goto undo;
    }
    /* x->refs changes only by sop_extents_take, which the same checkpointer calls. */
    for (size_t i = 0; i < count;) {
        uint64_t number = changes[i].page / SOP_EXTENT_HANDLES;
        while (old_at < x->count && x->refs[old_at].extent < number) {
            list[n++] = x->refs[old_at++];
        }
        rc = read_current(x, number, work, err);
        if (rc != 0) {
            goto undo;
        }
        for (; i < count && changes[i].page / SOP_EXTENT_HANDLES == number; i++) {
            struct sop_handle *h = &work->handles[changes[i].page % SOP_EXTENT_HANDLES];
            changes[i].before = *h;
            *h = changes[i].handle;
        }
        if (old_at < x->count && x->refs[old_at].extent == number) {
            old_at++;
        }
        if (!extent_empty(work)) {
            struct sop_extent_ref ref = {.extent = number, .lsn = lsn, .member = member};
            rc = sop_extent_write(x->volume, x->database_id, work, &ref, err);
            if (rc != 0) {
                goto undo;
            }
            list[n++] = ref;
        }
    }
    while (old_at < x->count) {
        list[n++] = x->refs[old_at++];
    }
    sop_free(work);
    *refs = list;
    *refs_count = n;
    return 0;

undo:
    sop_free(work);
    sop_free(list);
    return rc;
}
