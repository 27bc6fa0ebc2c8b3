/* Power loss on a local disk, the journal: PROTOCOL.md section 2 (an fsync that failed), 7 (W1, the
 * scan for the torn tail, copies, LAC) and 11 (torn tail against damage in the middle).
 *
 * Records 1..RECORDS go into a file that was zero-filled and synced before; each carries the LAC of
 * the moment it was written. A record is in the page cache, on the disk, or (after a failed fsync)
 * in the page cache and marked clean. Power loss keeps or drops each unsynced record by itself.
 * At every moment: (1) the power fails and the volume is opened; (2) the process is killed, a taker
 * reads the page cache and decides a cut with copies, and then the power fails; in both, one synced
 * record may have decayed, if something durable later proves that it was promised.
 *
 * -DINTERVAL: durability `interval`: several records are appended between two syncs, and also during
 * one: a sync covers what was appended before its mark. Records that no mark or sync is behind may
 * share a block; a block that is being written when the power fails may be torn as a whole.
 *
 * Asserts I4, I5, I8: acknowledged and synced records are found, or DATA_LOSS is told; what a taker
 * showed survives; NO_FALSE_ALARM: DATA_LOSS is told only if something decayed; TOLD_TRUTH: nobody
 * was told "aborted" about a record that counts.
 *
 * Mutants: ack_early acknowledged before fsync; retry_fsync a failed fsync is called again;
 * told_aborted a failed fsync is told as "aborted"; no_copies the taker leaves (LAC, cut] to the
 * journal; cut_first everything from the first invalid record on is a torn tail; later_block
 * (INTERVAL) any later valid record, not only one whose LAC covers it, makes it damage; share_synced
 * (INTERVAL, m13) a record shares a block with a synced one; lac_late (INTERVAL) a sync confirms what
 * was appended while it ran; copies_shown (INTERVAL) copies begin at the record that shows the LAC. */
#include "invariants.h"
#ifndef RECORDS
#define RECORDS 4
#endif

#define NONE 0
#define CACHED 1 /* written, not synced */
#define ON_DISK 2
#define CLEAN 3  /* fsync failed: in the cache, marked clean, not on the disk */

byte state[RECORDS + 1];
byte carries[RECORDS + 1]; /* LAC in the record's header */
byte block[RECORDS + 1];   /* first record of the block that it lies in */
byte appended, acked, lac, beat;
byte marked;               /* a sync that covers 1..marked runs; 0 = none */
bit fresh;                 /* the next record begins a block */
byte aborted;              /* record whose callers were told "aborted" */
bit failed;

/* Greatest LAC that anything valid (not lost, not bad) proves. */
#define VALID(r) (state[r] != NONE && !lost[r] && r != bad)

inline sync_to(last, to)
{
    atomic {
        r = 1;
        do
        :: r <= RECORDS ->
            if
            :: state[r] == CACHED && r <= last -> state[r] = to
            :: else
            fi;
            r++
        :: else -> break
        od;
        r = 0
    }
}

#ifdef INTERVAL
#define MAY_APPEND 1
#else
#define MAY_APPEND (lac == appended)
#endif

#ifdef MUTANT_share_synced
#define MAY_SHARE 1
#else
#define MAY_SHARE (!fresh)
#endif

inline confirm()
{
    atomic {
#ifdef MUTANT_lac_late
        lac = appended;
#else
        lac = marked;
#endif
        acked = lac;
        marked = 0
    }
}

active proctype owner()
{
    byte r;

    do
    :: appended < RECORDS && !failed && MAY_APPEND ->
        atomic {
            appended++;
            state[appended] = CACHED;
            carries[appended] = lac;
            block[appended] = appended;
#ifdef INTERVAL
            if
            :: appended > 1 && MAY_SHARE -> block[appended] = block[appended - 1]
            :: skip /* there was no room, or the sync has come */
            fi;
            fresh = 0
#endif
        }
#ifdef MUTANT_ack_early
        acked = appended
#endif
#ifdef INTERVAL
    :: lac < appended && !failed && marked == 0 -> atomic { marked = appended; fresh = 1 }
    :: marked > 0 && !failed ->
#else
    :: lac < appended && !failed -> marked = appended;
#endif
        if
        :: sync_to(marked, ON_DISK); confirm()
        :: sync_to(marked, CLEAN);
#ifdef MUTANT_retry_fsync
            sync_to(marked, ON_DISK); /* "succeeds": there is nothing left to write */
            confirm()
#else
            atomic {
                failed = 1;
#ifdef MUTANT_told_aborted
                aborted = appended
#endif
            }
#endif
        fi
    :: beat < lac -> beat = lac
    :: break
    od
}

/* One opening: reads what is valid, decides a cut or tells DATA_LOSS (cut = ALARM). */
#define ALARM 255
inline scan()
{
    cut = 0;
    do
    :: cut < RECORDS && VALID(cut + 1) -> cut++
    :: else -> break
    od;
    proven = beat;
    r = 1;
    do
    :: r <= RECORDS ->
        if
        :: VALID(r) && carries[r] > proven -> proven = carries[r]
        :: else
        fi;
#ifdef MUTANT_later_block
        if
        :: VALID(r) && r > cut + 1 -> proven = RECORDS
        :: else
        fi;
#endif
        r++
    :: else -> break
    od;
#ifndef MUTANT_cut_first
    if
    :: proven > cut -> cut = ALARM
    :: else
    fi
#endif
}

/* Each record that is not on the disk is kept or dropped by itself; what shares a block with one
 * that is being written may be torn with it. */
inline power_fails()
{
    r = 1;
    do
    :: r <= RECORDS ->
        if
        :: state[r] == CACHED -> lost[r] = 1
        :: state[r] == CLEAN -> lost[r] = 1
        :: r < RECORDS && state[r] == ON_DISK && state[r + 1] == CACHED &&
               block[r] == block[r + 1] -> lost[r] = 1
        :: state[r] != CLEAN
        fi;
        r++
    :: else -> break
    od
}

/* Where copies begin, found while reading 1..cut once (engine/chain/follow.c). */
inline find_copies()
{
    atomic {
        copied_from = 1;
        later = 1;
        shown = 0;
        r = 1;
        do
        :: r <= cut ->
            if
            :: carries[r] > shown ->
                shown = carries[r];
                if
                :: later <= shown + 1 -> copied_from = later
                :: else
                fi;
                later = r;
                if
                :: r == shown + 1 -> copied_from = r
                :: else
                fi
            :: else
            fi;
            r++
        :: else -> break
        od;
        if
        :: later <= proven + 1 -> copied_from = later
        :: else
        fi;
#ifdef MUTANT_copies_shown
        copied_from = later;
#endif
        r = 0
    }
}

/* A synced record below something durable that proves it may decay. */
inline decay()
{
    r = 1;
    do
    :: r < RECORDS && state[r] == ON_DISK ->
        if
        :: r <= beat -> bad = r; break
        :: state[r + 1] == ON_DISK && carries[r + 1] >= r -> bad = r; break
        :: r++
        fi
    :: else -> break
    od
}

active proctype failure()
{
    byte r, cut, proven, bad, copied_from, later, shown, k;
    bit lost[RECORDS + 1];

    atomic {
        bad = 255;
        if
        :: decay()
        :: skip
        fi;
        if
        :: power_fails();
            scan();
            assert(I4 || cut == ALARM || acked <= cut);
            assert(I8 || cut == ALARM || lac <= cut);
            assert(NO_FALSE_ALARM || cut != ALARM || bad != 255);
            assert(TOLD_TRUTH || aborted == 0 || cut == ALARM || aborted > cut)
        :: /* killed: the page cache is whole; the taker decides, shows, then the power fails */
            scan();
            assert(NO_FALSE_ALARM || cut != ALARM || bad != 255);
            assert(I4 || cut == ALARM || acked <= cut);
            assert(TOLD_TRUTH || aborted == 0 || cut == ALARM || aborted > cut);
            if
            :: cut != ALARM ->
#ifdef MUTANT_no_copies
                copied_from = cut + 1;
#else
                if
                :: proven >= cut -> copied_from = cut + 1
                :: else -> find_copies()
                fi;
#endif
                power_fails();
                k = 1;
                do
                :: k <= cut -> assert(I5 || k >= copied_from || VALID(k)); k++
                :: else -> break
                od
            :: else
            fi
        fi
    }
}
