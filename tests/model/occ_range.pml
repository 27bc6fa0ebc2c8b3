/* Validation by CONTENT on two pages: PROTOCOL.md section 5 and ARCHITECTURE.md section 4. What a
 * transaction read at S (keys, absences, a range) is looked up at the head: a page whose LSN is
 * <= S needs no look, otherwise what is found must equal what was found at S.
 *
 * A small tree: keys 0..KEYS-1; page 0 has [0, fence), page 1 has [fence, KEYS) if it exists. A
 * split is logical (page 1 starts with page 0's items, nothing is copied or erased), a merge moves
 * the items of page 1 as operations of page 0, whose fence grows over stale items of its own base.
 * Two transactions read a range each at a snapshot of their own, then upsert a key; a leader
 * validates both as one batch and puts it in a closed slot, which it may lose. The environment
 * toggles keys (so A-B-A happens), splits and merges between all steps. -DONE: one transaction, for
 * longer histories.
 *
 * Asserts I3: run alone at the place where it commits, a transaction would have read the same
 * (the ghost `truth` knows nothing of pages, so phantoms count); the tree equals `truth` after
 * every step (fences, I12); the store's count is the number of items.
 *
 * Mutants: m10 only the pages that were read are looked at; absence only items that were found are
 * looked up; merge_unstamped a merge that moves no item leaves page 0's LSN; merge_unclipped page
 * 0's stale items count again after the merge; batch_blind the shortcut uses the pages before the
 * batch; unpinned S is not pinned, reading at S gives the folded head; lost_put after a lost put
 * the batch is put again without new validation; upsert_kept an upsert keeps the resolution that
 * it had at S. */
#include "invariants.h"
#ifndef KEYS
#define KEYS 3
#endif
#ifndef CHANGES
#define CHANGES 3 /* steps of the environment */
#endif
#define LSNS (CHANGES + 2)
#define TXNS 2

byte head;
bit item[2 * KEYS];     /* what the stack of page p says about key k, fences aside */
byte page_lsn[2];
byte fence;             /* KEYS: page 1 does not exist */
bit truth[KEYS];        /* ghost: the store as a plain map */
bit old[LSNS * KEYS];   /* the store at each LSN, as read through the tree, pinned */
byte count;

/* transactions: snapshot, range read [low, high], key written; page LSNs are not remembered */
byte begun[TXNS], low[TXNS], high[TXNS], target[TXNS], fence_then[TXNS];
bit valid[TXNS];
byte changes;
bit ready;

#define PAGE(k) ((k) >= fence)
#define FOUND(k) item[PAGE(k) * KEYS + (k)]
#define FOUND_THEN(t, k) old[begun[t] * KEYS + (k)]

inline remember() /* the state at the head, and the checks that hold after every step */
{
    k = 0;
    total = 0;
    do
    :: k < KEYS ->
        assert(I12 || FOUND(k) == truth[k]);
        total = total + truth[k];
        old[head * KEYS + k] = FOUND(k);
        k++
    :: else -> break
    od;
    assert(I3 || total == count);
    k = 0;
    total = 0
}

active proctype environment()
{
    byte k, total;

    ready;
    do
    :: atomic { changes < CHANGES ->
        changes++;
        head++;
        if
        :: k = 0
        :: k = 1
        :: k = KEYS - 1
        fi;
        if
        :: /* insert or remove */
            count = count + 1 - 2 * truth[k];
            truth[k] = !truth[k];
            item[PAGE(k) * KEYS + k] = truth[k];
            page_lsn[PAGE(k)] = head
        :: fence == KEYS && k > 0 -> /* split at k: page 1 takes over page 0's items */
            fence = k;
            k = 0;
            do
            :: k < KEYS -> item[KEYS + k] = item[k]; k++
            :: else -> break
            od;
            page_lsn[0] = head;
            page_lsn[1] = head
        :: fence < KEYS -> /* merge: items of page 1 become operations of page 0 */
            total = 0;
            k = fence;
            do
            :: k < KEYS ->
                total = total + item[KEYS + k];
#ifdef MUTANT_merge_unclipped
                item[k] = item[k] | item[KEYS + k];
#else
                item[k] = item[KEYS + k];
#endif
                item[KEYS + k] = 0;
                k++
            :: else -> break
            od;
            fence = KEYS;
            page_lsn[1] = 0;
#ifdef MUTANT_merge_unstamped
            if
            :: total > 0 -> page_lsn[0] = head
            :: else
            fi
#else
            page_lsn[0] = head
#endif
        fi;
        remember() }
    :: break
    od
}

#ifdef MUTANT_batch_blind
#define IN_BATCH(t, k) 0
#else
#define IN_BATCH(t, k) (t == 1 && valid[0] && PAGE(target[0]) == PAGE(k))
#endif
#define FOUND_NOW(t, k) (FOUND(k) || (t == 1 && valid[0] && target[0] == k))
#ifdef MUTANT_unpinned
#define READ_AT_S(t, k) FOUND_NOW(t, k)
#else
#define READ_AT_S(t, k) FOUND_THEN(t, k)
#endif

/* Does what transaction t read at its S hold at the head, for t = 1 with transaction 0 laid over
 * it? Then resolves its upsert: grows[t] = 1 if it will be an insert. */
inline validate(t)
{
    k = low[t];
    valid[t] = 1;
    do
    :: k <= high[t] ->
        if
#ifdef MUTANT_m10
        :: k >= fence && high[t] < fence_then[t] -> skip /* on a page that t has not read */
#endif
#ifdef MUTANT_absence
        :: !FOUND_THEN(t, k) -> skip
#endif
        :: else ->
            if
            :: page_lsn[PAGE(k)] <= begun[t] && !IN_BATCH(t, k) /* the shortcut */
            :: else -> valid[t] = (valid[t] && FOUND_NOW(t, k) == READ_AT_S(t, k))
            fi
        fi;
        k++
    :: else -> break
    od;
    k = 0;
#ifdef MUTANT_upsert_kept
    grows[t] = !FOUND_THEN(t, target[t])
#else
    grows[t] = !FOUND_NOW(t, target[t])
#endif
}

inline begin(t)
{
    atomic {
        begun[t] = head;
        fence_then[t] = fence;
        select(k : 0 .. KEYS - 1);
        low[t] = k;
        select(k : 0 .. KEYS - 1);
        high[t] = (k < low[t] -> low[t] : k);
        select(k : 0 .. KEYS - 1);
        target[t] = k;
        k = 0
    }
}

inline apply(t)
{
    if
    :: valid[t] ->
        k = low[t];
        do
        :: k <= high[t] -> assert(I3 || truth[k] == FOUND_THEN(t, k)); k++
        :: else -> break
        od;
        k = 0;
        count = count + grows[t];
        truth[target[t]] = 1;
        item[PAGE(target[t]) * KEYS + target[t]] = 1;
        page_lsn[PAGE(target[t])] = head
    :: else
    fi
}

active proctype batch()
{
    byte k, total, base;
    bit grows[TXNS];

    ready;
    begin(0);
#ifndef ONE
    begin(1);
#endif
again:
    atomic {
        base = head;
        validate(0);
#ifndef ONE
        validate(1)
#endif
    }
    atomic {
        if
#ifndef MUTANT_lost_put
        :: head != base -> goto again
#endif
        :: else ->
            head++;
            apply(0);
#ifndef ONE
            apply(1);
#endif
            remember()
        fi
    }
}

init
{
    atomic {
        if
        :: fence = KEYS
        :: fence = 1
        fi;
        ready = 1
    }
}
