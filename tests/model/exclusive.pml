/* Opening and closing exclusively: PROTOCOL.md section 7, "Opening exclusively" (1)-(5), "Closing",
 * and the owner's W1/R1. A session is one JOIN {exclusive, open, expels, cut, copies}; slot s is the
 * s-th session. Asserts I8 (acknowledged and shown <= cut), I3 (nothing follows LEAVE), I4, I11.
 *
 * Processes open, serve, close, are stopped for any time, or are killed and open again. The OS lock
 * of a session is honest with -DHONEST_LOCK, otherwise an opener may find it free although its
 * holder lives (dropped lock, stopped host): safety must not hang on it. With an honest lock no
 * living session is taken over (REFUSED_WELL).
 *
 * Mutants: m3 the woken owner acknowledges without reading TEN; m8 it answers a strict read so;
 * lock_is_proof a free lock is taken as proof, TEN is not sealed; seal_late sealed after reading;
 * append_after_leave a record follows LEAVE (the maintenance thread was not stopped before);
 * lock_after_put (HONEST_LOCK) the lock is taken after the JOIN is won; unlock_early
 * (HONEST_LOCK) it is dropped before LEAVE is written. */
#include "invariants.h"
hidden byte REFUSED_WELL;
#ifndef N
#define N 2
#endif
#ifndef SESSIONS
#define SESSIONS 3
#endif
#ifndef RECORDS
#define RECORDS 2
#endif

byte owner[SESSIONS];  /* 0 = slot absent */
byte cut[SESSIONS];    /* of the session before */
bit sealed[SESSIONS];
byte visible[SESSIONS], durable[SESSIONS];
byte leave[SESSIONS];  /* record number of LEAVE; 0 = none */
bit locked[SESSIONS];  /* OS lock */
byte acked[SESSIONS];  /* ghosts */
bit serving[SESSIONS]; /* from a won JOIN to the end of closing */

#ifdef HONEST_LOCK
#define MAY_TRY(s) (!locked[s])
#else
#define MAY_TRY(s) 1
#endif
#ifdef MUTANT_lock_after_put
#define LOCKED_AT_JOIN 0
#else
#define LOCKED_AT_JOIN 1
#endif
#ifdef MUTANT_lock_is_proof
#define MUST_SEAL 0
#else
#define MUST_SEAL 1
#endif

inline seal()
{
    atomic {
        if
        :: MUST_SEAL -> sealed[s - 1] = 1
        :: else
        fi
#ifdef HONEST_LOCK
        ;
        assert(REFUSED_WELL || !serving[s - 1] || owner[s] != 0)
#endif
    }
}

inline read_journal()
{
    if
    :: c = durable[s - 1]
    :: c = visible[s - 1]
    fi
}

inline append_and_sync() /* W1 */
{
    visible[s] = durable[s] + 1;
    durable[s] = visible[s]
}

active [N] proctype process()
{
    byte s, c; /* s: the slot of my session, or the one I try for */
    byte me = _pid + 1;
    bit won, flag, newer;

opening:
    do
    :: atomic { s < SESSIONS && owner[s] != 0 -> s++ } /* observer: on to the head */
    :: s == SESSIONS -> goto over
    :: s < SESSIONS && owner[s] == 0 ->
        c = 0;
        if
        :: s == 0
        :: s > 0 && !MAY_TRY(s - 1) -> goto over /* REFUSED */
        :: s > 0 && MAY_TRY(s - 1) ->
#ifdef MUTANT_seal_late
            read_journal();
            seal()
#else
            seal();
            read_journal()
#endif
        :: s > 0 && owner[s] != 0 -> goto opening
        fi;
        atomic { /* ONE put; my own lock is held before it */
            won = (owner[s] == 0);
            if
            :: won ->
                owner[s] = me;
                cut[s] = c;
                locked[s] = LOCKED_AT_JOIN;
                serving[s] = 1;
                assert(I8 || s == 0 || acked[s - 1] <= c);
                assert(I3 || s == 0 || leave[s - 1] == 0 || c <= leave[s - 1])
            :: else
            fi;
            c = 0
        }
        if
        :: won -> break
        :: else /* LOST: from the beginning */
        fi
    od;
#ifdef MUTANT_lock_after_put
    locked[s] = 1;
#endif

    do
    :: durable[s] < RECORDS -> /* a batch */
        append_and_sync();
#ifdef MUTANT_m3
        flag = 0;
#else
        flag = sealed[s];
#endif
        if
        :: flag -> goto killed
        :: else ->
            atomic {
                acked[s] = durable[s];
                assert(I8 || s + 1 >= SESSIONS || owner[s + 1] == 0 || acked[s] <= cut[s + 1])
            }
        fi
    :: /* a strict read */
        newer = (s + 1 < SESSIONS && owner[s + 1] != 0); /* ghost */
#ifdef MUTANT_m8
        flag = 0;
#else
        flag = sealed[s];
#endif
        if
        :: flag -> goto killed
        :: else -> assert(I11 || !newer)
        fi
    :: break /* closing */
    :: goto killed
    od;

#ifdef MUTANT_unlock_early
    locked[s] = 0;
#endif
    visible[s] = durable[s] + 1;
    leave[s] = visible[s];
    durable[s] = visible[s];
    flag = sealed[s];
    if
    :: flag -> goto killed /* taken over before: LEAVE counts iff it is <= cut */
    :: else
    fi;
#ifdef MUTANT_append_after_leave
    append_and_sync();
#endif

killed: /* closed, or dead at any place above: the OS drops the lock */
    atomic { serving[s] = 0; locked[s] = 0; flag = 0; newer = 0; won = 0 }
    goto opening;
over:
    skip
}
