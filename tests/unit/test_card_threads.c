/* The catalog changes while somebody looks for a card: between asking and getting it. */
#include "engine/db/card.h"

#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#define ROUNDS 300u
#define YIELDS 20u /* the looker is to wait for the cards' mutex then */

static struct sop_tree *catalog, *tree;
static struct sop_cards cards;
static _Atomic unsigned asked; /* rounds in which the looker is about to look */
static bool found[ROUNDS];
static pthread_barrier_t border;

static struct sop_card *new_card(uint64_t moment)
{
    struct sop_catalog_record facts = {
        .id = tree->id, .root = tree->root, .unique = true, .slot_length = 2000};
    struct sop_buf record = {0};
    struct sop_card *card = NULL;
    ck_assert_int_eq(sop_catalog_encode(&facts, &record, NULL), 0);
    ck_assert_int_eq(sop_card_new(&card, "x", tree, sop_buf_slice(&record), NULL), 0);
    sop_buf_fini(&record);
    card->moment = moment;
    return card;
}

/* In round r the catalog changes from moment 10 r to 10 r + 8; a transaction of moment 10 r + 5
 * looks. */
static void *looker(void *arg)
{
    (void)arg;
    for (unsigned r = 0; r < ROUNDS; r++) {
        (void)pthread_barrier_wait(&border);
        atomic_store(&asked, r + 1);
        struct sop_card *card = sop_cards_find(&cards, "x", catalog, 10 * r + 5);
        found[r] = card != NULL;
        sop_card_unref(card);
        (void)pthread_barrier_wait(&border);
    }
    return NULL;
}

/* The card of the old state was good for the looker; when it gets at the cards there is only
 * that of the new state, which is not. What it knew of the catalog before counts for nothing.
 */
START_TEST(a_card_of_a_newer_state_is_not_taken)
{
    pthread_t thread;
    ck_assert_int_eq(sop_tree_new(&catalog, 1, 1, NULL), 0);
    ck_assert_int_eq(sop_tree_new(&tree, 2, 2, NULL), 0);
    ck_assert_int_eq(pthread_barrier_init(&border, NULL, 2), 0);
    sop_cards_init(&cards);
    ck_assert_int_eq(pthread_create(&thread, NULL, looker, NULL), 0);
    for (unsigned r = 0; r < ROUNDS; r++) {
        struct sop_card *old = new_card(10 * r + 2);
        struct sop_card *fresh = new_card(10 * r + 9);
        atomic_store(&catalog->changed, 10 * r);
        sop_cards_keep(&cards, old);
        sop_mutex_lock(&cards.mutex);
        (void)pthread_barrier_wait(&border);
        for (unsigned i = 0; i < YIELDS || atomic_load(&asked) != r + 1; i++) {
            (void)sched_yield();
        }
        atomic_store(&catalog->changed, 10 * r + 8);
        for (unsigned i = 0; i < SOP_CARDS_KEPT; i++) { /* as sop_cards_keep() does it */
            if (cards.kept[i] == old) {
                cards.kept[i] = NULL;
                sop_card_unref(old);
                cards.kept[i] = fresh;
            }
        }
        sop_mutex_unlock(&cards.mutex);
        (void)pthread_barrier_wait(&border);
        ck_assert_msg(!found[r], "round %u: a card of a state that comes later", r);
        sop_card_unref(old);
    }
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    sop_cards_fini(&cards);
    sop_tree_free(tree);
    sop_tree_free(catalog);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("card_threads");
    TCase *tc = tcase_create("cards");
    tcase_add_test(tc, a_card_of_a_newer_state_is_not_taken);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
