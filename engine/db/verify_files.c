/* Verification of what is no page and no value: the history since the older checkpoint, or all
 * of it while there is only one or none, and the small files, needed or not. Reads journals as
 * a whole, so only a deep one does it. Maintain lock held: nothing is swept meanwhile. */
#include "engine/db/verify_int.h"

static int pass(void *arg, struct sop_lsn lsn, enum sop_record_kind kind, uint64_t member,
                uint64_t batch, struct sop_slice payload, struct sop_err *err)
{
    (void)arg;
    (void)lsn;
    (void)kind;
    (void)member;
    (void)batch;
    (void)payload;
    (void)err;
    return 0;
}

/* Opening proved what lies behind the newest checkpoint. If that one cannot be used some day,
 * the older one needs more, and if there is none, all history: here that is followed once, as a
 * reader beside the owner would. */
static int check_history(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    const struct sop_kept *k = &e->kept[1];
    struct sop_chain *chain = NULL;
    struct sop_err why = {0};
    struct sop_chain_options o = {
        .volume = e->volume, .env = e->env, .apply = pass, .observer = true};
    memcpy(o.database_id, e->options.database_id, sizeof o.database_id);
    o.start = k->used ? k->manifest.point : e->options.genesis;
    if (k->used) {
        o.state = sop_buf_slice(&k->manifest.chain_state);
    }
    int rc = sop_chain_open(&chain, &o, &why);
    (void)sop_chain_close(&chain, false, NULL);
    return sop_verify__judge(v, rc, &why, err, "history, should the newest checkpoint be lost");
}

/* A file for people; but it should say what sop.db says. */
static int check_options(struct sop_verify *v, struct sop_err *err)
{
    struct sop_buf file = {0};
    char text[SOP_OPTIONS_TEXT_BYTES];
    size_t len = sop_db__options_text(&v->db->identity, text);
    struct sop_err why = {0};
    int rc =
        sop_volume_read_file(v->engine->volume, SOP_OPTIONS_NAME, sizeof text, &file, &why);
    size_t at = 0;
    while (at < len && at < file.len && (char)file.data[at] == text[at]) {
        at++;
    }
    if (rc == SOP_ERR_TOO_LARGE || (rc == 0 && (at < len || file.len > len))) {
        sop_verify__find(
            v, 2, "%s at byte %zu: it does not say what sop.db says; sop.db is what counts",
            SOP_OPTIONS_NAME, at);
        rc = 0;
    }
    sop_buf_fini(&file);
    return sop_verify__judge(v, rc, &why, err, "%s", SOP_OPTIONS_NAME);
}

static void found(void *arg, int severity, const char *text)
{
    sop_verify__find(arg, severity, "%s", text);
}

/* The own folder changes while it is looked at; history has proved what counts in it. */
static int check_members(struct sop_verify *v, struct sop_err *err)
{
    struct sop_engine *e = v->engine;
    struct sop_err why = {0};
    struct sop_chain_inspection what = {
        .volume = e->volume, .skip = sop_chain_member_dir(e->chain), .report = found, .arg = v};
    if (e->options.observer) {
        return 0; /* its owner may be writing any of them */
    }
    memcpy(what.database_id, e->options.database_id, sizeof what.database_id);
    int rc = sop_chain_inspect(&what, &why);
    return sop_verify__judge(v, rc, &why, err, "files of members");
}

int sop_verify__files(struct sop_verify *v, struct sop_err *err)
{
    int rc = check_options(v, err);
    if (rc == 0 && v->deep) {
        rc = check_history(v, err);
    }
    if (rc == 0 && v->deep) {
        rc = check_members(v, err);
    }
    return rc;
}
