/* engine/base/heap: large blocks side by side in chunks. */
#include "engine/base/base.h"
#include "engine/base/heap.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK ((size_t)2 << 20)
#define SLOTS 400

struct slot {
    uint8_t *block;
    size_t bytes;
    uint8_t mark;
};

struct player {
    struct slot slots[SLOTS];
    uint64_t state;
};

static uint64_t draw(struct player *p, uint64_t below)
{
    p->state = p->state * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (p->state >> 33) % below;
}

/* Sizes that matter: the borders of units and of what it takes, and all in between. */
static size_t draw_size(struct player *p)
{
    switch (draw(p, 4)) {
    case 0:
        return SOP_HEAP_BYTES_MIN + draw(p, 3) * 4096 + draw(p, 3) - 1 + (draw(p, 2) == 0);
    case 1:
        return SOP_HEAP_BYTES_MAX - draw(p, 2 * 4096);
    default:
        return SOP_HEAP_BYTES_MIN + draw(p, 256 * 1024);
    }
}

static void fill(struct slot *s)
{
    memset(s->block, s->mark, 64);
    memset(s->block + s->bytes - 64, s->mark, 64);
    for (size_t at = 0; at < s->bytes; at += 1021) {
        s->block[at] = s->mark;
    }
}

static bool is_filled(const struct slot *s)
{
    bool same = true;
    for (size_t i = 0; i < 64; i++) {
        same = same && s->block[i] == s->mark && s->block[s->bytes - 1 - i] == s->mark;
    }
    for (size_t at = 0; at < s->bytes; at += 1021) {
        same = same && s->block[at] == s->mark;
    }
    return same;
}

/* Not Check's assertions: each of them is a message to another process. */
#define WANT(fact)                                                                             \
    do {                                                                                       \
        if (!(fact)) {                                                                         \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #fact);                         \
            abort();                                                                           \
        }                                                                                      \
    } while (0)

static void end(struct slot *s)
{
    if (s->block != NULL) {
        WANT(is_filled(s));
        sop_heap_give(s->block);
        s->block = NULL;
    }
}

static void play(struct player *p, unsigned steps)
{
    for (unsigned i = 0; i < steps; i++) {
        struct slot *s = &p->slots[draw(p, SLOTS)];
        if (s->block != NULL) {
            end(s);
            continue;
        }
        size_t align = draw(p, 3) == 0 ? 4096 : 16;
        s->bytes = draw_size(p);
        s->mark = (uint8_t)draw(p, 256);
        s->block = sop_heap_take(s->bytes, align);
        if (s->bytes < SOP_HEAP_BYTES_MIN || s->bytes > SOP_HEAP_BYTES_MAX) {
            WANT(s->block == NULL);
            continue;
        }
        WANT(s->block != NULL && (uintptr_t)s->block % align == 0);
        WANT(sop_heap_has(s->block) && sop_heap_has(s->block + s->bytes - 1));
        WANT(sop_heap_bytes(s->block) >= s->bytes);
        WANT(sop_heap_bytes(s->block) <= s->bytes + 4096);
        fill(s);
    }
}

static void end_all(struct player *p)
{
    for (size_t i = 0; i < SLOTS; i++) {
        end(&p->slots[i]);
    }
}

START_TEST(blocks_do_not_overlap_and_go_back)
{
    struct sop_heap_stats stats;
    struct player *p = calloc(1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    p->state = 7;
    play(p, 20000);
    sop_heap_stats(&stats);
    size_t live = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        live += p->slots[i].block != NULL ? p->slots[i].bytes : 0;
    }
    printf("heap: %zu KiB in blocks of %zu KiB, in chunks of %zu KiB\n", live / 1024,
           stats.block_bytes / 1024, stats.chunk_bytes / 1024);
    ck_assert_uint_ge(stats.block_bytes, live);
    ck_assert_uint_lt(stats.block_bytes, live + SLOTS * 4096);
    ck_assert_uint_lt(stats.chunk_bytes, live * 2); /* of large blocks and odd sizes */
    end_all(p);
    sop_heap_stats(&stats);
    ck_assert_uint_eq(stats.block_bytes, 0);
    ck_assert_uint_le(stats.chunk_bytes, 4 * CHUNK); /* the others have no memory */
    free(p);
}
END_TEST

static size_t resident_bytes(void *at, size_t bytes)
{
    static unsigned char pages[1 << 16];
    size_t count = bytes / 4096;
    size_t resident = 0;
    ck_assert_uint_le(count, sizeof pages);
    ck_assert_int_eq(mincore(at, bytes, pages), 0);
    for (size_t i = 0; i < count; i++) {
        resident += (pages[i] & 1) * 4096u;
    }
    return resident;
}

START_TEST(memory_goes_back_to_the_system)
{
    enum { BLOCKS = 64 };
    uint8_t *blocks[BLOCKS];
    uint8_t *low = NULL;
    uint8_t *high = NULL;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = sop_heap_take(SOP_HEAP_BYTES_MAX, 4096);
        ck_assert_ptr_nonnull(blocks[i]);
        memset(blocks[i], 1, SOP_HEAP_BYTES_MAX);
        low = low == NULL || blocks[i] < low ? blocks[i] : low;
        high = blocks[i] > high ? blocks[i] : high;
    }
    size_t span = (size_t)(high - low) + SOP_HEAP_BYTES_MAX;
    ck_assert_uint_ge(resident_bytes(low, span), BLOCKS * SOP_HEAP_BYTES_MAX);
    for (size_t i = 0; i < BLOCKS; i++) {
        sop_heap_give(blocks[i]);
    }
    ck_assert_uint_le(resident_bytes(low, span), 4 * CHUNK);
    uint8_t *again = sop_heap_take(SOP_HEAP_BYTES_MAX, 16);
    ck_assert_ptr_nonnull(again);
    memset(again, 2, SOP_HEAP_BYTES_MAX);
    sop_heap_give(again);
}
END_TEST

START_TEST(growing_keeps_what_is_there)
{
    uint8_t *block = sop_malloc(20000);
    ck_assert_ptr_nonnull(block);
    memset(block, 3, 20000);
    static const size_t sizes[] = {40000, 39000, 1 << 20, 3 << 20, 100000, 17000, 100, 30000};
    size_t kept = 20000;
    for (size_t i = 0; i < SOP_ARRAY_LEN(sizes); i++) {
        uint8_t *next = sop_realloc(block, sizes[i]);
        ck_assert_ptr_nonnull(next);
        block = next;
        kept = sizes[i] < kept ? sizes[i] : kept;
        for (size_t at = 0; at < kept; at++) {
            WANT(block[at] == 3);
        }
    }
    sop_free(block);
    ck_assert(!sop_heap_has(NULL));
    sop_free(NULL);
}
END_TEST

static void *play_alone(void *arg)
{
    play(arg, 4000);
    return NULL;
}

START_TEST(threads_share_it)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct player *p = calloc(THREADS, sizeof *p);
    ck_assert_ptr_nonnull(p);
    for (size_t i = 0; i < THREADS; i++) {
        p[i].state = i + 1;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, play_alone, &p[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        end_all(&p[i]); /* of other threads */
    }
    free(p);
}
END_TEST

static _Atomic bool over;
static void *play_until_over(void *arg)
{
    while (!over) {
        play(arg, 100);
    }
    return NULL;
}

/* A child of fork() has the heap as it was at one moment, whoever held it. */
START_TEST(a_child_goes_on_with_it)
{
    pthread_t thread;
    struct player *p = calloc(2, sizeof *p);
    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(pthread_create(&thread, NULL, play_until_over, &p[0]), 0);
    for (int i = 0; i < 15; i++) {
        pid_t child = fork();
        if (child == 0) {
            (void)alarm(60);
            play(&p[1], 200);
            _exit(0);
        }
        int status = 0;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_int_eq(status, 0);
    }
    over = true;
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    end_all(&p[0]);
    free(p);
}
END_TEST

#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifndef TSAN
#define TSAN 0
#endif

/* Without address space all blocks are the C library's. */
START_TEST(a_limit_on_address_space_is_no_failure)
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {(rlim_t)64 << 30, (rlim_t)64 << 30};
        bool ok = setrlimit(RLIMIT_AS, &limit) == 0;
        void *block = sop_malloc(100000);
        ok = ok && block != NULL && !sop_heap_has(block);
        sop_free(block);
        _exit(ok ? 0 : 1);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("heap");
    TCase *t = tcase_create("blocks");
    tcase_set_timeout(t, 120);
    if (!TSAN && SOP_RECYCLES) { /* sanitizers need more address space than any limit */
        tcase_add_test(t, a_limit_on_address_space_is_no_failure);
    }
    tcase_add_test(t, blocks_do_not_overlap_and_go_back);
    tcase_add_test(t, memory_goes_back_to_the_system);
    tcase_add_test(t, growing_keeps_what_is_there);
    tcase_add_test(t, threads_share_it);
    if (!TSAN) { /* which holds locks of its own in a fork() that other threads wait for */
        tcase_add_test(t, a_child_goes_on_with_it);
    }
    suite_add_tcase(s, t);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed == 0 ? 0 : 1;
}
