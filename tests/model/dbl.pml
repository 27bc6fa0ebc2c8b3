/* A put is won, then the gate is found dead: was the batch decided? PROTOCOL.md section 4
 * (resync: "decided[me] FIRST") and 6. Asserts I3, I4: a batch is decided at most once, and a
 * member that is done knows the right answer.
 *
 * Members 1..N have one batch each; the filler moves the chain on, the truncator cuts it off.
 *
 * Mutant: m7 no look-up in decided[] after a dead gate. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef DIRS
#define DIRS 3
#endif
#define SLOTS (2 * DIRS)
#define FILLER 9

byte slot[SLOTS];
bit dead[DIRS];
byte redo;
byte first[SLOTS];   /* ghost */
byte decided[FILLER + 1]; /* slot + 1 where this member's batch was decided; 0 = nowhere */

#define note_decided(s) assert(I3 || me == FILLER || decided[me] == 0); decided[me] = s + 1

inline put(s)
{
    atomic {
        if
        :: slot[s] == 0 ->
            slot[s] = me;
            won = 1;
            if
            :: first[s] == 0 ->
                first[s] = me;
                note_decided(s)
            :: else
            fi
        :: else -> won = 0
        fi
    }
}

/* The manifest at `redo` holds decided[] of everything below it, and only of that. */
inline resync_and_look()
{
    atomic {
        h = redo;
#ifndef MUTANT_m7
        if
        :: decided[me] != 0 && decided[me] <= redo -> done = 1
        :: else
        fi
#endif
    }
}

active [N] proctype member()
{
    byte h, seen;
    byte me = _pid + 1;
    bit won, shut, done;

    do
    :: h < SLOTS && !done ->
        seen = slot[h];
        shut = dead[h / 2];
        if
        :: shut -> resync_and_look()
        :: !shut && seen != 0 -> h++; done = (seen == me)
        :: else ->
            put(h);
            if
            :: won ->
                shut = dead[h / 2];
                if
                :: shut -> resync_and_look()
                :: else -> h++; done = 1
                fi
            :: else
            fi
        fi
    :: else -> break
    od;
    assert(I4 || !done || decided[me] != 0)
}

active proctype filler()
{
    byte h, seen;
    byte me = FILLER;
    bit won, shut;

    do
    :: h < SLOTS ->
        seen = slot[h];
        shut = dead[h / 2];
        if
        :: shut -> h = redo
        :: !shut && seen != 0 -> h++
        :: else -> put(h)
        fi
    :: else -> break
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
