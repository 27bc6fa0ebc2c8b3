/* Items of a page at a moment, while the page is touched for the first time: what the extents
 * say may already be of a later state than the moment that is asked for. */
#include "engine/cache/page.h"

#include <check.h>

#define PAGE 7u

static struct sop_epochs epochs;
static struct sop_cache cache;
static struct sop_pages pages;
static bool busy; /* somebody changes the page while its handle is looked for */

static struct sop_version *version(uint64_t at, uint32_t items)
{
    struct sop_version_spec spec = {.page = PAGE, .at = at, .items = items, .exact = true};
    struct sop_version *v = NULL;
    ck_assert_int_eq(sop_version_new(&v, &cache, &spec, NULL), 0);
    return v;
}

/* 5 items at moment 0; from moment 1 on 9, which a checkpoint has put into the extents. */
static void change(void)
{
    struct sop_frame *frame = NULL;
    ck_assert_int_eq(sop_pages_frame(&pages, PAGE, &frame, NULL), 0);
    atomic_store(&frame->newest, version(0, 5));
    struct sop_publish list = {.frame = frame, .version = version(1, 9)};
    sop_pages_publish(&pages, &list, 1, 1, (struct sop_lsn){1, 1});
}

static int handle(void *arg, uint64_t page, struct sop_handle *h, struct sop_err *err)
{
    (void)arg;
    (void)page;
    (void)err;
    memset(h, 0, sizeof *h);
    h->items = 5;
    if (busy) {
        change();
        h->items = 9;
    }
    return 0;
}

START_TEST(a_change_meanwhile_is_not_seen)
{
    struct sop_pin *pin = NULL;
    uint32_t items = 0;
    busy = _i == 1;
    sop_epochs_init(&epochs);
    sop_cache_init(&cache, &epochs, NULL, 1u << 20);
    ck_assert_int_eq(sop_pages_init(&pages, &cache, handle, NULL, NULL), 0);
    struct sop_epoch_slot *slot = sop_epoch_take(&epochs);
    ck_assert_ptr_nonnull(slot);
    ck_assert_int_eq(sop_pages_pin(&pages, &pin, NULL), 0);
    sop_epoch_enter(&epochs, slot);
    ck_assert_int_eq(sop_pages_items(&pages, PAGE, pin->moment, &items, NULL), 0);
    sop_epoch_leave(slot);
    ck_assert_uint_eq(items, 5);
    sop_pages_unpin(&pages, pin);
    sop_epoch_give(&epochs, slot);
    sop_pages_fini(&pages);
    sop_epochs_fini(&epochs);
    sop_cache_fini(&cache);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("items of a page");
    TCase *t = tcase_create("touched meanwhile");
    tcase_add_loop_test(t, a_change_meanwhile_is_not_seen, 0, 2);
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_set_fork_status(r, CK_NOFORK);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
