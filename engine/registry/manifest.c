/* Manifests <-> bytes. The encoding is canonical: each section once, in order, with zeros where
 * nothing is said, so that decoding and encoding again gives the same bytes.
 *
 * Decoding trusts nothing before the CRC over the whole file checks, and even then takes memory
 * only for rows that are there. */
#include "engine/registry/format.h"

#include "engine/base/codec.h"

void sop_manifest_fini(struct sop_manifest *m)
{
    sop_free(m->extents);
    sop_free(m->stores);
    sop_free(m->files);
    sop_free(m->free_pages);
    sop_buf_fini(&m->chain_state);
    sop_buf_fini(&m->more);
    memset(m, 0, sizeof *m);
}

static void write_zeros(struct sop_writer *w, size_t len)
{
    static const uint8_t zeros[16];
    SOP_ASSERT(len <= sizeof zeros);
    sop_write_bytes(w, sop_slice(zeros, len));
}

static void section_begin(struct sop_writer *w, enum sop_section type, size_t rows,
                          uint64_t bytes)
{
    sop_write_u32(w, (uint32_t)type);
    sop_write_u32(w, (uint32_t)rows);
    sop_write_u64(w, bytes);
}

static void write_state(struct sop_writer *w, const struct sop_manifest *m)
{
    const struct sop_chain_point *p = &m->point;
    char dir[SOP_CHAIN_DIR_BYTES] = {0};
    memcpy(dir, p->dir, strnlen(p->dir, sizeof dir - 1));

    section_begin(w, SOP_SECTION_STATE, 1, SOP_STATE_BYTES);
    sop_write_lsn(w, p->lsn);
    sop_write_u64(w, p->hash);
    sop_write_u64(w, p->dir_first);
    sop_write_u64(w, p->journal_member);
    sop_write_u32(w, p->journal_file);
    sop_write_u32(w, 0);
    sop_write_u64(w, p->journal_offset);
    sop_write_u64(w, m->member);
    sop_write_u64(w, m->next_page);
    sop_write_u64(w, m->next_store);
    sop_write_u64(w, m->value_bytes);
    sop_write_bytes(w, sop_slice(dir, sizeof dir));
    write_zeros(w, 8);
}

static void write_extents(struct sop_writer *w, const struct sop_manifest *m)
{
    size_t n = m->extents_count;
    section_begin(w, SOP_SECTION_EXTENTS, n, (uint64_t)n * SOP_ROW_EXTENT_BYTES);
    for (size_t i = 0; i < n; i++) {
        sop_write_u64(w, m->extents[i].extent);
        sop_write_lsn(w, m->extents[i].lsn);
        sop_write_u64(w, m->extents[i].member);
    }
}

static void write_stores(struct sop_writer *w, const struct sop_manifest *m)
{
    size_t n = m->stores_count;
    section_begin(w, SOP_SECTION_STORES, n, (uint64_t)n * SOP_ROW_STORE_BYTES);
    for (size_t i = 0; i < n; i++) {
        SOP_ASSERT(m->stores[i].dropping <= 1);
        sop_write_u64(w, m->stores[i].store);
        sop_write_u64(w, m->stores[i].root);
        sop_write_u64(w, m->stores[i].items);
        sop_write_u8(w, m->stores[i].dropping);
        write_zeros(w, 7);
    }
}

static void write_files(struct sop_writer *w, const struct sop_manifest *m)
{
    size_t n = m->files_count;
    section_begin(w, SOP_SECTION_FILES, n, (uint64_t)n * SOP_ROW_FILE_BYTES);
    for (size_t i = 0; i < n; i++) {
        sop_write_u64(w, m->files[i].member);
        sop_write_u32(w, m->files[i].file);
        sop_write_u32(w, 0);
        sop_write_u64(w, m->files[i].live_bytes);
    }
}

static void write_free(struct sop_writer *w, const struct sop_manifest *m)
{
    size_t n = m->free_pages_count;
    section_begin(w, SOP_SECTION_FREE, n, (uint64_t)n * SOP_ROW_FREE_BYTES);
    for (size_t i = 0; i < n; i++) {
        sop_write_u64(w, m->free_pages[i].store);
        sop_write_u64(w, m->free_pages[i].page);
    }
}

static size_t pad_of(size_t len)
{
    return (8 - len % 8) % 8;
}

static void write_chain(struct sop_writer *w, const struct sop_manifest *m)
{
    section_begin(w, SOP_SECTION_CHAIN, 1, m->chain_state.len);
    sop_write_bytes(w, sop_buf_slice(&m->chain_state));
    write_zeros(w, pad_of(m->chain_state.len));
}

static uint32_t manifest_crc(const uint8_t *bytes, size_t len)
{
    return sop_crc32c(bytes + SOP_MANIFEST_AT_VERSION, len - SOP_MANIFEST_AT_VERSION, 0);
}

int sop_manifest_encode(const struct sop_manifest *m, struct sop_buf *to, struct sop_err *err)
{
    if (m->more.len != 0) {
        return SOP_ERR(err, UNSUPPORTED, "manifest sections that this release does not know");
    }
    const size_t counts[] = {m->extents_count, m->stores_count, m->files_count,
                             m->free_pages_count};
    for (size_t i = 0; i < SOP_ARRAY_LEN(counts); i++) {
        if (counts[i] > SOP_MANIFEST_BYTES_MAX / SOP_ROW_EXTENT_BYTES) {
            return SOP_ERR(err, LIMIT, "%zu rows in a section of a manifest", counts[i]);
        }
    }
    sop_buf_clear(to);
    struct sop_writer w = sop_writer(to);
    sop_write_u64(&w, SOP_MANIFEST_MAGIC);
    sop_write_u32(&w, 0); /* CRC, below */
    sop_write_u32(&w, SOP_REGISTRY_VERSION);
    sop_write_u64(&w, 0); /* bytes, below */
    sop_write_bytes(&w, sop_slice(m->database_id, sizeof m->database_id));
    sop_write_u32(&w, SOP_SECTIONS);
    sop_write_u32(&w, 0);
    write_state(&w, m);
    write_extents(&w, m);
    write_stores(&w, m);
    write_files(&w, m);
    write_free(&w, m);
    write_chain(&w, m);
    int rc = sop_writer_end(&w, err);
    if (rc != 0) {
        return rc;
    }
    if (to->len > SOP_MANIFEST_BYTES_MAX) {
        return SOP_ERR(err, LIMIT, "manifest of %zu bytes", to->len);
    }
    sop_put_u64(to->data + SOP_MANIFEST_AT_BYTES, to->len);
    sop_put_u32(to->data + SOP_MANIFEST_AT_CRC, manifest_crc(to->data, to->len));
    return 0;
}

/* A section whose header was read and whose body lies in the file. */
struct section {
    uint32_t type;
    uint32_t rows;
    size_t at; /* of the body, for messages */
    struct sop_reader body;
};

static int bad(const struct section *s, const char *what, struct sop_err *err)
{
    return SOP_ERR(err, DATA_LOSS, "at byte %zu: section %" PRIu32 ": %s", s->at, s->type,
                   what);
}

static bool rest_is_zero(struct sop_reader *r, size_t len)
{
    struct sop_slice rest = sop_read_bytes(r, len);
    for (size_t i = 0; i < rest.len; i++) {
        if (rest.data[i] != 0) {
            return false;
        }
    }
    return true;
}

static int read_state(struct section *s, struct sop_manifest *m, struct sop_err *err)
{
    struct sop_reader *r = &s->body;
    struct sop_chain_point *p = &m->point;
    p->lsn = sop_read_lsn(r);
    p->hash = sop_read_u64(r);
    p->dir_first = sop_read_u64(r);
    p->journal_member = sop_read_u64(r);
    p->journal_file = sop_read_u32(r);
    bool sane = sop_read_u32(r) == 0;
    p->journal_offset = sop_read_u64(r);
    m->member = sop_read_u64(r);
    m->next_page = sop_read_u64(r);
    m->next_store = sop_read_u64(r);
    m->value_bytes = sop_read_u64(r);
    struct sop_slice dir = sop_read_bytes(r, sizeof p->dir);
    sane = rest_is_zero(r, 8) && sane && !r->bad;
    if (!sane) {
        return bad(s, "wrong state", err);
    }
    memcpy(p->dir, dir.data, sizeof p->dir);
    size_t len = strnlen(p->dir, sizeof p->dir);
    struct sop_reader after = sop_reader(sop_slice(dir.data + len, dir.len - len));
    if (len == sizeof p->dir || !rest_is_zero(&after, dir.len - len)) {
        return bad(s, "name of the chain directory does not end", err);
    }
    return 0;
}

/* Memory for the rows of a section; count 0 takes none. */
static int rows_new(const struct section *s, size_t row_bytes, void *out, size_t *count,
                    struct sop_err *err)
{
    void *rows = NULL;
    if (s->rows != 0) {
        rows = sop_calloc(s->rows, row_bytes);
        if (rows == NULL) {
            return SOP_ERR(err, NOMEM, "%" PRIu32 " rows of a manifest", s->rows);
        }
    }
    memcpy(out, &rows, sizeof rows);
    *count = s->rows;
    return 0;
}

static int read_extents(struct section *s, struct sop_manifest *m, struct sop_err *err)
{
    int rc = rows_new(s, sizeof *m->extents, &m->extents, &m->extents_count, err);
    for (size_t i = 0; rc == 0 && i < m->extents_count; i++) {
        m->extents[i].extent = sop_read_u64(&s->body);
        m->extents[i].lsn = sop_read_lsn(&s->body);
        m->extents[i].member = sop_read_u64(&s->body);
    }
    return rc;
}

static int read_stores(struct section *s, struct sop_manifest *m, struct sop_err *err)
{
    int rc = rows_new(s, sizeof *m->stores, &m->stores, &m->stores_count, err);
    for (size_t i = 0; rc == 0 && i < m->stores_count; i++) {
        m->stores[i].store = sop_read_u64(&s->body);
        m->stores[i].root = sop_read_u64(&s->body);
        m->stores[i].items = sop_read_u64(&s->body);
        m->stores[i].dropping = sop_read_u8(&s->body);
        if (!rest_is_zero(&s->body, 7) || m->stores[i].dropping > 1) {
            rc = bad(s, "wrong row of a store", err);
        }
    }
    return rc;
}

static int read_files(struct section *s, struct sop_manifest *m, struct sop_err *err)
{
    int rc = rows_new(s, sizeof *m->files, &m->files, &m->files_count, err);
    for (size_t i = 0; rc == 0 && i < m->files_count; i++) {
        m->files[i].member = sop_read_u64(&s->body);
        m->files[i].file = sop_read_u32(&s->body);
        if (sop_read_u32(&s->body) != 0) {
            rc = bad(s, "wrong row of a file", err);
        }
        m->files[i].live_bytes = sop_read_u64(&s->body);
    }
    return rc;
}

static int read_free(struct section *s, struct sop_manifest *m, struct sop_err *err)
{
    int rc = rows_new(s, sizeof *m->free_pages, &m->free_pages, &m->free_pages_count, err);
    for (size_t i = 0; rc == 0 && i < m->free_pages_count; i++) {
        m->free_pages[i].store = sop_read_u64(&s->body);
        m->free_pages[i].page = sop_read_u64(&s->body);
    }
    return rc;
}

static int read_chain(struct section *s, struct sop_manifest *m, struct sop_err *err)
{
    size_t len = sop_reader_left(&s->body);
    struct sop_slice state = sop_read_bytes(&s->body, len);
    return sop_buf_append(&m->chain_state, state.data, state.len, err);
}

/* row_bytes 0: one row of any length. */
static const struct {
    size_t row_bytes;
    int (*read)(struct section *s, struct sop_manifest *m, struct sop_err *err);
} sections[SOP_SECTIONS + 1] = {
    [SOP_SECTION_STATE] = {SOP_STATE_BYTES, read_state},
    [SOP_SECTION_EXTENTS] = {SOP_ROW_EXTENT_BYTES, read_extents},
    [SOP_SECTION_STORES] = {SOP_ROW_STORE_BYTES, read_stores},
    [SOP_SECTION_FILES] = {SOP_ROW_FILE_BYTES, read_files},
    [SOP_SECTION_FREE] = {SOP_ROW_FREE_BYTES, read_free},
    [SOP_SECTION_CHAIN] = {0, read_chain},
};

/* Takes the next section off the file; verifies that its rows fill its body exactly. */
static int section_next(struct sop_reader *file, struct sop_slice bytes, uint32_t expected,
                        struct section *s, struct sop_err *err)
{
    s->type = sop_read_u32(file);
    s->rows = sop_read_u32(file);
    uint64_t len = sop_read_u64(file);
    s->at = (size_t)(file->at - bytes.data);
    if (file->bad || len > sop_reader_left(file)) {
        return bad(s, "the file ends inside it", err);
    }
    if (s->type > SOP_SECTIONS) {
        return SOP_ERR(err, VERSION,
                       "manifest section %" PRIu32 " is not known to this release", s->type);
    }
    if (s->type != expected) {
        return bad(s, "not in its place", err);
    }
    size_t row = sections[s->type].row_bytes;
    if (row != 0 ? len / row != s->rows || len % row != 0 : s->rows != 1) {
        return bad(s, "rows do not fill it", err);
    }
    if (s->type == SOP_SECTION_STATE && s->rows != 1) {
        return bad(s, "more or less than one row", err);
    }
    s->body = sop_reader(sop_read_bytes(file, (size_t)len));
    if (!rest_is_zero(file, pad_of((size_t)len)) || file->bad) {
        return bad(s, "padding is not zero", err);
    }
    return 0;
}

/* Everything of the header that is not a section. */
static int header_verify(struct sop_slice bytes, struct sop_err *err)
{
    const uint8_t *from = bytes.data;
    if (bytes.len < SOP_MANIFEST_HEADER_BYTES) {
        return SOP_ERR(err, DATA_LOSS, "at byte %zu: manifest ends inside its header",
                       bytes.len);
    }
    if (sop_get_u64(from + SOP_MANIFEST_AT_MAGIC) != SOP_MANIFEST_MAGIC) {
        return SOP_ERR(err, DATA_LOSS, "at byte 0: manifest has no magic number");
    }
    if (sop_get_u32(from + SOP_MANIFEST_AT_CRC) != manifest_crc(from, bytes.len)) {
        return SOP_ERR(err, DATA_LOSS, "at bytes %d to %zu: manifest has a wrong CRC",
                       SOP_MANIFEST_AT_CRC, bytes.len);
    }
    uint32_t version = sop_get_u32(from + SOP_MANIFEST_AT_VERSION);
    if (version != SOP_REGISTRY_VERSION) {
        return SOP_ERR(err, VERSION,
                       "manifest has format version %" PRIu32 ", this release reads %d",
                       version, SOP_REGISTRY_VERSION);
    }
    if (sop_get_u64(from + SOP_MANIFEST_AT_BYTES) != bytes.len ||
        sop_get_u32(from + SOP_MANIFEST_AT_ZERO) != 0) {
        return SOP_ERR(err, DATA_LOSS, "at byte %d: manifest header makes no sense",
                       SOP_MANIFEST_AT_BYTES);
    }
    return 0;
}

/* Known sections first and in order; one more than we know is refused by its type. */
static int sections_decode(struct sop_slice bytes, struct sop_manifest *m, struct sop_err *err)
{
    uint32_t count = sop_get_u32(bytes.data + SOP_MANIFEST_AT_SECTIONS);
    struct sop_reader file = sop_reader(bytes);
    (void)sop_read_bytes(&file, SOP_MANIFEST_HEADER_BYTES);
    struct section s = {.type = 0};
    for (uint32_t i = 1; i <= count; i++) {
        int rc = section_next(&file, bytes, i, &s, err);
        if (rc == 0) {
            rc = sections[s.type].read(&s, m, err);
        }
        if (rc != 0) {
            return rc;
        }
    }
    if (count != SOP_SECTIONS || sop_reader_left(&file) != 0) {
        return SOP_ERR(err, DATA_LOSS, "at byte %zu: manifest has %" PRIu32 " sections, not %d",
                       bytes.len - sop_reader_left(&file), count, SOP_SECTIONS);
    }
    return 0;
}

int sop_manifest_decode(struct sop_slice bytes, struct sop_manifest *m, struct sop_err *err)
{
    memset(m, 0, sizeof *m);
    int rc = header_verify(bytes, err);
    if (rc != 0) {
        return rc;
    }
    memcpy(m->database_id, bytes.data + SOP_MANIFEST_AT_DATABASE, sizeof m->database_id);
    rc = sections_decode(bytes, m, err);
    if (rc != 0) {
        sop_manifest_fini(m);
    }
    return rc;
}
