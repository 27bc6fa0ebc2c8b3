/* Open slots: PROTOCOL.md section 7, owner (W1, R1) and taker (seal, read, put the cut). Asserts
 * I8: acknowledged <= cut and shown <= cut for every possible winner; I1: one cut for everybody.
 *
 * A record is first visible, then durable; a read in flight returns either (A2). Anybody may seal
 * and take over at any time: no clocks. OWNER_READS adds strict readers at the owner (own.pml),
 * OWN_CUT an owner whose append or sync fails and which ends its own tenure.
 *
 * Mutants: m3 owner acknowledges without reading TEN; m4 readers see what is visible instead of
 * LAC; m5 taker reads before sealing; m8 (own.pml) owner answers a strict read without TEN;
 * loser_keeps_cut a taker that lost its put keeps its own cut instead of the winner's;
 * own_cut_blind (OWN_CUT) the failed record is told as aborted whoever won the put. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef SLOTS
#define SLOTS 3
#endif
#ifndef RECORDS
#define RECORDS 2
#endif

byte owner[SLOTS]; /* 0 = slot absent */
bit open[SLOTS];
byte cut[SLOTS];   /* of the tenure in the slot before */
bit sealed[SLOTS]; /* TEN of the tenure in this slot; one way (I7) */
byte visible[SLOTS], durable[SLOTS], lac[SLOTS];
byte acked[SLOTS], shown[SLOTS]; /* ghosts */

inline read_journal(s)
{
    if
    :: c = durable[s]
    :: c = visible[s]
    fi
}

active [N] proctype member()
{
    byte h, c; /* h: slots applied */
    byte me = _pid + 1;
    bit usable, opens, flag;

    do
    :: h < SLOTS && owner[h] != 0 -> /* apply the next slot */
        atomic { usable = (owner[h] == me && open[h]); h++ }

    :: h > 0 && usable && durable[h - 1] < RECORDS -> /* owner: W1, then R1 */
        visible[h - 1] = durable[h - 1] + 1;
        durable[h - 1] = visible[h - 1];
#ifdef MUTANT_m3
        flag = 0;
#else
        flag = sealed[h - 1];
#endif
        if
        :: !flag ->
            atomic {
                acked[h - 1] = durable[h - 1];
                assert(I8 || h >= SLOTS || owner[h] == 0 || acked[h - 1] <= cut[h])
            }
            lac[h - 1] = durable[h - 1]
        :: else -> usable = 0
        fi

#ifdef OWN_CUT
    :: h > 0 && h < SLOTS && usable && durable[h - 1] < RECORDS ->
        /* W1 fails: the record may be there or not; the owner seals itself and ends its tenure
         * with a CUT at its LAC, without reading the journal */
        visible[h - 1] = durable[h - 1] + 1;
        if
        :: durable[h - 1] = visible[h - 1]
        :: skip
        fi;
        sealed[h - 1] = 1;
        usable = 0;
        atomic {
            if
            :: owner[h] == 0 -> owner[h] = me; open[h] = 0; cut[h] = lac[h - 1]
            :: else /* a taker was first: its cut decides */
            fi;
            assert(I8 || acked[h - 1] <= cut[h]);
            assert(I8 || shown[h - 1] <= cut[h]);
#ifdef MUTANT_own_cut_blind
            flag = 1;
#else
            flag = (visible[h - 1] > cut[h]);
#endif
            assert(TOLD_TRUTH || !flag || visible[h - 1] > cut[h]); /* told "aborted" */
            flag = 0
        }
#endif

#ifdef OWNER_READS
    :: h > 0 && usable -> /* strict read-only begin at the owner: my LAC is the head? */
        flag = (h < SLOTS && owner[h] != 0); /* ghost: something newer was decided before */
        c = flag;
#ifdef MUTANT_m8
        flag = 0;
#else
        flag = sealed[h - 1];
#endif
        if
        :: !flag -> assert(I11 || !c)
        :: else -> usable = 0
        fi;
        c = 0
#endif

    :: h < SLOTS && owner[h] == 0 -> /* take over */
        c = 0;
        if
        :: h > 0 && open[h - 1] ->
#ifdef MUTANT_m5
            read_journal(h - 1);
            sealed[h - 1] = 1;
            usable = 0
#else
            sealed[h - 1] = 1;
            usable = 0;
            read_journal(h - 1)
#endif
        :: else
        fi;
        if
        :: opens = 1
        :: opens = 0
        fi;
        atomic {
            if
            :: owner[h] == 0 ->
                owner[h] = me;
                open[h] = opens;
                cut[h] = c;
                assert(I8 || h == 0 || !open[h - 1] || acked[h - 1] <= c);
                assert(I8 || h == 0 || !open[h - 1] || shown[h - 1] <= c)
            :: else
#ifndef MUTANT_loser_keeps_cut
                -> c = cut[h] /* LOST: the winner's */
#endif
            fi;
            assert(I1 || h == 0 || !open[h - 1] || c == cut[h]);
            c = 0
        }

    :: h > 0 && open[h - 1] -> /* any reader: shows up to LAC */
#ifdef MUTANT_m4
        c = visible[h - 1];
#else
        c = lac[h - 1];
#endif
        atomic {
            if
            :: c > shown[h - 1] -> shown[h - 1] = c
            :: else
            fi;
            assert(I8 || h >= SLOTS || owner[h] == 0 || shown[h - 1] <= cut[h]);
            c = 0
        }
    :: break
    od
}
