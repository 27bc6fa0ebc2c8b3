/* Two stores folders: PROTOCOL.md section 10, first paragraph, closed slots. A slot is put on the
 * active folder, then linked on the passive one, then acknowledged; whoever finds it missing there
 * links it before it puts the next one. At some moment the active folder is lost for everybody and
 * the passive one is the chain (the generation flag that decides this is not modelled: one step).
 * Asserts I4 (what was acknowledged is on the passive folder), I2 (no gap there), I8 (what was shown
 * is there), I1 (the passive folder has the ticket that was decided on the active one).
 *
 * Mutants: m12 the missing link is not made up before the next put; ack_active acknowledged before
 * the passive link; show_active a reader shows what it has read on the active folder only. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef SLOTS
#define SLOTS 3
#endif

byte active_slot[SLOTS], passive_slot[SLOTS];
bit lost;
byte acked, shown; /* ghosts: number of slots */

inline link_passive(s) /* create-if-absent with the ticket of the active folder */
{
    atomic {
        if
        :: passive_slot[s] == 0 && !lost -> passive_slot[s] = active_slot[s]
        :: else
        fi
    }
}

active [N] proctype member()
{
    byte h, seen;
    byte me = _pid + 1;
    bit won;

    do
    :: lost -> break
    :: h < SLOTS && active_slot[h] != 0 -> /* a foreign slot: applied, perhaps shown */
        if
        :: skip
        ::
#ifndef MUTANT_show_active
            link_passive(h);
#endif
            atomic {
                if
                :: !lost && shown <= h -> shown = h + 1
                :: else
                fi
            }
        fi;
        h++
    :: h < SLOTS && active_slot[h] == 0 ->
#ifndef MUTANT_m12
        if
        :: h > 0 -> link_passive(h - 1)
        :: else
        fi;
#endif
        atomic {
            won = (active_slot[h] == 0 && !lost);
            if
            :: won -> active_slot[h] = me
            :: else
            fi
        }
        if
        :: won ->
#ifndef MUTANT_ack_active
            link_passive(h);
#endif
            atomic {
                if
                :: !lost && acked <= h -> acked = h + 1
                :: else
                fi
            }
#ifdef MUTANT_ack_active
            link_passive(h);
#endif
            h++
        :: else
        fi
    :: break
    od
}

active proctype disaster()
{
    byte length, s;

    atomic {
        lost = 1;
        do
        :: length < SLOTS && passive_slot[length] != 0 -> length++
        :: else -> break
        od;
        s = 0;
        do
        :: s < SLOTS ->
            assert(I2 || s < length || passive_slot[s] == 0);
            assert(I1 || passive_slot[s] == 0 || passive_slot[s] == active_slot[s]);
            s++
        :: else -> break
        od;
        assert(I4 || acked <= length);
        assert(I8 || shown <= length)
    }
}
