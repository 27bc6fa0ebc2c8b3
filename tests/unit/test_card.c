/* A card is good for every state in which the catalog says the same, and for no other. */
#include "engine/db/card.h"

#include <check.h>
#include <stdlib.h>

static struct sop_card *new_card(struct sop_tree *tree, const char *name, uint64_t moment)
{
    struct sop_catalog_record facts = {
        .id = tree->id, .root = tree->root, .unique = true, .slot_length = 2000};
    struct sop_buf record = {0};
    struct sop_card *card = NULL;
    ck_assert_int_eq(sop_catalog_encode(&facts, &record, NULL), 0);
    ck_assert_int_eq(sop_card_new(&card, name, tree, sop_buf_slice(&record), NULL), 0);
    sop_buf_fini(&record);
    card->moment = moment;
    return card;
}

static bool finds(struct sop_cards *cards, const struct sop_tree *catalog, const char *name,
                  uint64_t moment)
{
    struct sop_card *card = sop_cards_find(cards, name, catalog, moment);
    bool found = card != NULL;
    sop_card_unref(card);
    return found;
}

START_TEST(a_card_holds_between_changes_of_the_catalog)
{
    struct sop_tree *catalog = NULL;
    struct sop_tree *tree = NULL;
    struct sop_cards cards;
    ck_assert_int_eq(sop_tree_new(&catalog, 1, 1, NULL), 0);
    ck_assert_int_eq(sop_tree_new(&tree, 2, 2, NULL), 0);
    sop_cards_init(&cards);
    atomic_store(&catalog->changed, 5);
    struct sop_card *card = new_card(tree, "x", 6);
    sop_cards_keep(&cards, card);
    sop_card_unref(card);

    ck_assert(finds(&cards, catalog, "x", 5)); /* the same since 5 */
    ck_assert(finds(&cards, catalog, "x", 9));
    ck_assert(!finds(&cards, catalog, "x", 4)); /* before the change it may have been another */
    ck_assert(!finds(&cards, catalog, "y", 9));
    atomic_store(&catalog->changed, 8); /* the card does not know what came */
    ck_assert(!finds(&cards, catalog, "x", 9));
    ck_assert(!finds(&cards, catalog, "x", 6));

    sop_cards_fini(&cards);
    sop_tree_free(tree);
    sop_tree_free(catalog);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("card");
    TCase *tc = tcase_create("card");
    tcase_add_test(tc, a_card_holds_between_changes_of_the_catalog);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
