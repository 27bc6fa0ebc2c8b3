/* Power loss on a local disk, the names: PROTOCOL.md section 2 (A3), 4 (put: fsync(dir); refresh:
 * "fsync(dir) once before showing foreign slots") and 8 (ROLL: whoever puts first into K+1 fsyncs
 * directory K before).
 *
 * Members put tickets into slots of two directories of two slots each. A ticket's bytes are synced
 * before the link. Names of one directory become durable in the order of creation, those of
 * different directories in any order. At every moment the power may fail.
 *
 * Asserts I4 (what was acknowledged is there), I8 (what was shown is there), I5 (bytes behind a
 * durable name are durable), I2 (no slot without its predecessor).
 *
 * Mutants: ack_before_dirsync; show_before_dirsync a reader shows foreign slots without its own
 * fsync(dir); roll_unsynced the first put into directory 1 does not sync directory 0;
 * ticket_unsynced the ticket is linked before its bytes are synced. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#define SLOTS 4

byte slot[SLOTS];
bit bytes[SLOTS];  /* the ticket behind the name is durable */
byte synced[2];    /* slots of this directory whose names are surely durable */
byte linked[2];
byte acked, shown; /* ghosts: number of slots */

inline dirsync(d)
{
    atomic { synced[d] = linked[d] }
}

active [N] proctype member()
{
    byte h, d;
    byte me = _pid + 1;
    bit won;

    do
    :: h < SLOTS && slot[h] != 0 -> h++ /* applied, not shown: a writer learns the tail */
    :: h < SLOTS && slot[h] != 0 -> /* applied and shown */
        d = h / 2;
        h++;
#ifndef MUTANT_show_before_dirsync
        dirsync(d);
#endif
        atomic {
            if
            :: h > shown -> shown = h
            :: else
            fi
        }
    :: h < SLOTS && slot[h] == 0 ->
        d = h / 2;
#ifndef MUTANT_roll_unsynced
        if
        :: h == 2 -> dirsync(0)
        :: else
        fi;
#endif
        atomic {
            won = (slot[h] == 0);
            if
            :: won ->
                slot[h] = me;
                linked[d]++;
#ifndef MUTANT_ticket_unsynced
                bytes[h] = 1
#endif
            :: else
            fi
        }
        if
        :: won ->
#ifdef MUTANT_ticket_unsynced
            bytes[h] = 1;
#endif
            h++;
#ifndef MUTANT_ack_before_dirsync
            dirsync(d);
#endif
            atomic {
                if
                :: h > acked -> acked = h
                :: else
                fi
            }
        :: else
        fi
    :: break
    od
}

/* The power may fail now: what would an opening find? Looks, and changes nothing. */
active proctype power()
{
    byte left0, left1, length, i;

    atomic {
        select(left0 : synced[0] .. linked[0]);
        select(left1 : synced[1] .. linked[1]);
        length = (left0 < 2 -> left0 : 2 + left1);
        assert(I2 || left0 == 2 || left1 == 0);
        assert(I4 || acked <= length);
        assert(I8 || shown <= length);
        do
        :: i < length -> assert(I5 || bytes[i]); i++
        :: else -> break
        od
    }
}
