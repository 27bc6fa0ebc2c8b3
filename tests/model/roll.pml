/* ROLL with competing directories: PROTOCOL.md section 8 (ROLL, truncate) and 4 (gate). Asserts I1
 * (one decided ticket per slot, whatever directory it lies in), I2, I7.
 *
 * Directory K of the chain has one slot for a ticket and a last slot for ROLL. Members that want to
 * roll make a directory each (own nonce, GATE LIVE, synced) and put its name into the last slot;
 * one wins. The truncator kills the gate, unlinks the slots, then the gate, then the directory.
 *
 * Mutants: m1 no gate check after a won put; gate_unchecked no gate check at all;
 * gate_at_tail the gate is looked at only behind the newest slot, so the gate of a directory that
 * was left through its ROLL is never looked at; name_not_unique directories are named by K alone; gate_late GATE is made
 * after the put of ROLL, by whoever finds it missing. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef LEVELS
#define LEVELS 3
#endif
#define IDS (LEVELS * N)

#define LIVE 1
#define DEAD 2

bit exists[IDS];
byte gate[IDS];    /* 0 = no such file */
byte ticket[IDS];  /* first slot */
byte next[IDS];    /* last slot: id + 1 of the next directory */
byte first_ticket[LEVELS], first_next[LEVELS]; /* ghosts: decided */
byte redo_id;

inline resync()
{
    atomic { id = redo_id; last = 0 }
}

#ifdef MUTANT_gate_unchecked
#define CHECK_GATE live = 1
#define CHECK_GATE_AFTER_PUT live = 1
#else
#define CHECK_GATE live = (gate[id] == LIVE)
#ifdef MUTANT_m1
#define CHECK_GATE_AFTER_PUT live = 1
#else
#define CHECK_GATE_AFTER_PUT CHECK_GATE
#endif
#endif
#ifdef MUTANT_gate_at_tail
#define CHECK_GATE_READ live = (seen != 0 || gate[id] == LIVE)
#else
#define CHECK_GATE_READ CHECK_GATE
#endif
#ifdef MUTANT_name_not_unique
#define NAME_OF(k, who) ((k) * N)
#else
#define NAME_OF(k, who) ((k) * N + (who))
#endif

active [N] proctype member()
{
    byte id, seen, made;
    bit last, live, won;

    do
    :: !last -> /* the ticket slot */
        seen = ticket[id];
        CHECK_GATE_READ;
        if
        :: !live -> resync()
        :: live && seen != 0 ->
#ifndef MUTANT_gate_at_tail /* there, what was read may still be thrown away */
            assert(I1 || seen == first_ticket[id / N]);
#endif
            last = 1
        :: else ->
            atomic {
                won = (exists[id] && ticket[id] == 0);
                if
                :: won ->
                    ticket[id] = _pid + 1;
                    if
                    :: first_ticket[id / N] == 0 ->
                        assert(I2 || id / N == 0 || first_next[id / N - 1] == id + 1);
                        first_ticket[id / N] = _pid + 1
                    :: else
                    fi
                :: else
                fi
            }
            if
            :: won ->
                CHECK_GATE_AFTER_PUT;
                if
                :: live -> assert(I1 || first_ticket[id / N] == _pid + 1); last = 1
                :: else -> resync()
                fi
            :: else
            fi
        fi
    :: last && id / N < LEVELS - 1 -> /* the last slot */
        seen = next[id];
        CHECK_GATE_READ;
        if
        :: !live -> resync()
        :: live && seen != 0 ->
#ifndef MUTANT_gate_at_tail
            assert(I1 || seen == first_next[id / N]);
#endif
            id = seen - 1;
            last = 0;
#ifdef MUTANT_gate_late
            live = (gate[id] == 0);
            if
            :: live ->
                atomic {
                    if
                    :: exists[id] -> assert(I7 || gate[id] != DEAD); gate[id] = LIVE
                    :: else
                    fi
                }
            :: else
            fi
#endif
        :: else ->
            made = NAME_OF(id / N + 1, _pid);
            atomic {
                if
                :: !exists[made] ->
                    exists[made] = 1;
#ifndef MUTANT_gate_late
                    gate[made] = LIVE
#else
                    skip
#endif
                :: else
                fi
            }
            atomic {
                won = (exists[id] && next[id] == 0);
                if
                :: won ->
                    next[id] = made + 1;
                    if
                    :: first_next[id / N] == 0 -> first_next[id / N] = made + 1
                    :: else
                    fi
                :: else
                fi
            }
            made = 0;
            if
            :: won ->
                CHECK_GATE_AFTER_PUT;
                if
                :: !live -> resync()
                :: else /* followed when the slot is read again */
                fi
            :: else
            fi
        fi
    :: break
    od
}

init
{
    exists[0] = 1;
    gate[0] = LIVE
}

active proctype truncator()
{
    byte k, id;

    do
    :: k < LEVELS - 1 ->
end:    atomic {
            first_next[k] != 0 && first_ticket[k + 1] != 0;
            id = redo_id;
            redo_id = first_next[k] - 1
        }
        gate[id] = DEAD;
        ticket[id] = 0;
        next[id] = 0;
        /* late links are removed too */
        atomic { gate[id] = 0; exists[id] = 0; ticket[id] = 0; next[id] = 0 }
        k++
    :: else -> break
    od
}
