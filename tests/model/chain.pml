/* Closed slots, truncation and the gate: PROTOCOL.md section 4 (put, refresh), 6 (WON, then GATE)
 * and 8 (truncate). Asserts I1 (all who pass the gate see the first value ever put), I2 (a put on
 * n+1 comes from a member that applied n), I9, I12 (a head never goes back).
 *
 * A stopped process is one that the scheduler does not pick. Directory d holds slots 2d, 2d+1.
 * Resynchronising is one step to the newest redo: its own steps are read-only.
 *
 * Mutants: m1 no gate check after a won put; m2 no gate check after reading a slot;
 * unlink_first slots are unlinked before the gate is killed. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef DIRS
#define DIRS 3
#endif
#define SLOTS (2 * DIRS)

byte slot[SLOTS];  /* 0 = absent, else the member whose ticket it is */
bit dead[DIRS];    /* GATE */
byte redo;         /* of the last but one official checkpoint */
byte first[SLOTS]; /* ghost: what was decided = the first value ever put */

inline put(s) /* won = 1: create-if-absent succeeded */
{
    atomic {
        if
        :: slot[s] == 0 ->
            slot[s] = me;
            won = 1;
            if
            :: first[s] == 0 ->
                assert(I2 || s == 0 || first[s - 1] != 0);
                first[s] = me
            :: else
            fi
        :: else -> won = 0
        fi
    }
}

inline resync()
{
    atomic { assert(I12 || redo > h); h = redo }
}

active [N] proctype member()
{
    byte h, seen;
    byte me = _pid + 1;
    bit won, shut;

    do
    :: h < SLOTS ->
        seen = slot[h];
        if
        :: seen != 0 -> /* refresh: take it only if the gate is live afterwards */
#ifdef MUTANT_m2
            shut = 0;
#else
            shut = dead[h / 2];
#endif
            if
            :: shut -> resync()
            :: else -> assert(I1 || seen == first[h]); h++
            fi
        :: else -> /* I know the tail: is it the tail of a live directory? */
            shut = dead[h / 2];
            if
            :: shut -> resync()
            :: else ->
                put(h);
                if
                :: won ->
#ifdef MUTANT_m1
                    shut = 0;
#else
                    shut = dead[h / 2];
#endif
                    if
                    :: shut -> resync()
                    :: else -> assert(I1 || first[h] == me); h++ /* acknowledged */
                    fi
                :: else
                fi
            fi
        fi
    :: break /* never scheduled again */
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
#ifdef MUTANT_unlink_first
        slot[2 * d] = 0;
        slot[2 * d + 1] = 0;
        dead[d] = 1;
#else
        dead[d] = 1;
        slot[2 * d] = 0;
        assert(I9 || dead[d]);
        slot[2 * d + 1] = 0;
#endif
        d++
    :: else -> break
    od
}
