/* Puts whose outcome is not known, and which land late or never: PROTOCOL.md section 4 (put,
 * UNKNOWN, FAILED, decided[]), A1. Asserts TOLD_TRUTH (told FAILED or aborted: never decided, not
 * even later), I3 (a batch is decided at most once, a member's batches in order), I4.
 *
 * Member X has two batches; its link() calls answer at once, or not at all and land at any later
 * time, also twice, also in a directory that is truncated by then; or they answer the wrong thing
 * (a lost reply that was repeated by the client: EEXIST for my own, success for a foreign one).
 * A late link can only succeed while the ticket has a name of its own. Filler and truncator move
 * the chain on.
 *
 * Mutants: told_aborted the slot is read, absent, and the caller told "aborted"; failed_keeps_name
 * FAILED without unlinking the ticket's own name (so it is also with an open descriptor on NFS,
 * where unlink becomes a rename and the link goes by file handle); second_batch another batch is
 * begun while one is unknown; believe_eexist, believe_success the return code is believed instead of
 * the content; failed_no_gate FAILED because the slot is absent, without looking at the gate AFTER
 * that (the link may have landed, been decided and been truncated meanwhile); no_lookup after a dead
 * gate decided[] is not asked, the batch counts as LOST. */
#include "invariants.h"
#ifndef DIRS
#define DIRS 2
#endif
#define SLOTS (2 * DIRS)
#define FILLER 9
#define BATCHES 2

/* what the caller was told */
#define NOTHING 0
#define COMMITTED 1
#define ABORTED 2 /* or FAILED */

byte slot[SLOTS];
bit dead[DIRS];
byte redo;
byte first[SLOTS];         /* ghost */
byte decided[BATCHES + 1]; /* slot + 1 */
byte told[BATCHES + 1];
bit named[BATCHES + 1];    /* the ticket has its own name */
byte flying[SLOTS];        /* batch whose link to this slot may still land; 0 = none */

inline take(s, who) /* create-if-absent at the server, of X's ticket */
{
    slot[s] = who;
    if
    :: first[s] == 0 ->
        first[s] = who;
        assert(TOLD_TRUTH || told[who] != ABORTED);
        assert(I3 || decided[who] == 0);
        assert(I3 || who != 1 || decided[2] == 0);
        decided[who] = s + 1
    :: else
    fi
}

#define CAN_LAND(s) (flying[s] != 0 && slot[s] == 0 && named[flying[s]])

inline land(s)
{
    take(s, flying[s]);
    if
    :: flying[s] = 0
    :: skip /* sent twice: may land again when the slot is free again */
    fi
}

active proctype network()
{
end:
    do
    :: atomic { CAN_LAND(0) -> land(0) }
    :: atomic { CAN_LAND(1) -> land(1) }
    :: atomic { CAN_LAND(2) -> land(2) }
    :: atomic { CAN_LAND(3) -> land(3) }
#if DIRS > 2
    :: atomic { CAN_LAND(4) -> land(4) }
    :: atomic { CAN_LAND(5) -> land(5) }
#endif
    od
}

inline tell(what)
{
    atomic {
        told[b] = what;
        assert(I4 || what != COMMITTED || decided[b] != 0);
        assert(TOLD_TRUTH || what != ABORTED || decided[b] == 0)
    }
}

/* Resynchronise; decided[me] first: is it in the manifest? */
inline resync_and_look()
{
    atomic {
        h = redo;
#ifndef MUTANT_no_lookup
        if
        :: decided[b] != 0 && decided[b] <= redo -> tell(COMMITTED)
        :: else
        fi
#endif
    }
}

active proctype X()
{
    byte h, seen;
    byte b = 1;
    bit shut, unknown;

    named[1] = 1;
    do
    :: told[b] != NOTHING -> /* the next batch, if there is one */
        if
        :: b < BATCHES -> b++; named[b] = 1; unknown = 0
        :: else -> break
        fi
    :: told[b] == NOTHING && h == SLOTS -> break
    :: told[b] == NOTHING && h < SLOTS ->
        seen = slot[h];
        shut = dead[h / 2];
        if
        :: shut -> resync_and_look()
        :: !shut && seen != 0 ->
            h++;
            if
            :: seen == b -> tell(COMMITTED)
            :: seen != b && unknown -> unknown = 0 /* LOST: that slot is not mine */
            :: seen != b && !unknown -> tell(ABORTED); named[b] = 0 /* LOST, and now a conflict */
            :: seen != b && !unknown
            fi
        :: else -> /* put(h) */
            if
            :: atomic { /* it is executed, and answers the truth */
                if
                :: slot[h] == 0 -> take(h, b)
                :: else
                fi }
            :: atomic { flying[h] = b; unknown = 1 }
#ifdef MUTANT_told_aborted
                seen = slot[h];
                if
                :: seen == 0 -> tell(ABORTED)
                :: else
                fi
#endif
#ifdef MUTANT_second_batch
                b = 3 - b; /* both are tried, in turn */
                named[b] = 1
#endif
            :: /* it is executed, and answers what is not so: only the content counts */
                atomic {
                    seen = (slot[h] == 0); /* whether it was mine */
                    if
                    :: seen -> take(h, b)
                    :: else
                    fi
                }
#ifdef MUTANT_believe_eexist
                if
                :: seen -> tell(ABORTED) /* my own link, sent twice by the client */
                :: else
                fi
#endif
#ifdef MUTANT_believe_success
                if
                :: !seen -> tell(COMMITTED)
                :: else
                fi
#endif
            :: /* ENOSPC and the like: perhaps one sent before is still on its way */
#ifndef MUTANT_failed_keeps_name
                named[b] = 0;
#endif
                seen = slot[h];
#ifdef MUTANT_failed_no_gate
                shut = 0;
#else
                shut = dead[h / 2]; /* after the slot: absent may also mean truncated */
#endif
                if
                :: seen == 0 && !shut -> tell(ABORTED) /* FAILED: nothing happened */
                :: else -> named[b] = 1 /* find out; the ticket gets a new name */
                fi
            fi
        fi
    od
}

active proctype filler()
{
    byte h, seen;

    do
    :: h < SLOTS ->
        seen = slot[h];
        if
        :: dead[h / 2] -> h = redo
        :: else ->
            if
            :: seen != 0 -> h++
            :: else ->
                atomic {
                    if
                    :: slot[h] == 0 ->
                        slot[h] = FILLER;
                        if
                        :: first[h] == 0 -> first[h] = FILLER
                        :: else
                        fi
                    :: else
                    fi
                }
            fi
        fi
    :: break
    od
}

active proctype truncator()
{
    byte d;

    do
    :: d < DIRS - 1 ->
end:    atomic {
            slot[2 * d + 1] != 0 && slot[2 * d + 2] != 0;
            redo = 2 * d + 2
        }
        dead[d] = 1;
        slot[2 * d] = 0;
        slot[2 * d + 1] = 0;
        d++
    :: else -> break
    od
}
