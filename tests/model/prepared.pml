/* Two-phase form: PROTOCOL.md section 5, last item, and 8 (EXPEL). Asserts I3: where a transaction
 * is decided, what it read still holds; a PREPARED one is valid at its DECIDE without being
 * validated again, because its keys and ranges are reserved. I4: told committed implies decided.
 *
 * Members run two transactions each: read one key or the range of both (0 = absent), then write
 * one; some commit at once, some PREPARE and DECIDE later, or change their mind. A member may be
 * expelled at any time, and may be stopped at any time. A member may resynchronise from a manifest
 * (which holds PREPARED with the reserved keys).
 *
 * Mutants: reserve_ignored others do not ask for reservations; reserve_writes only the keys to be
 * written are reserved; reserve_found a range reserves the items found, not the absences;
 * decide_expelled apply takes a DECIDE of an expelled member; expel_keeps EXPEL leaves the
 * reservations; manifest_bare manifests do not hold PREPARED. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte value[2];         /* at the head; 0 = absent */
byte reserved[2];      /* by which member; 0 = free */
bit expelled[N + 1];
bit committed[N + 1];  /* ghost: the DECIDE in question was applied */
bit ignorant[N + 1];   /* has lost the reservations (manifest_bare) */

#ifdef MUTANT_reserve_ignored
#define FREE(k) 1
#else
#define FREE(k) (reserved[k] == 0 || reserved[k] == me || ignorant[me])
#endif
#define IS_READ(k) (both || key == (k))
#define STILL(k) (!IS_READ(k) || value[k] == read[k])

inline reserve(k)
{
    if
#ifdef MUTANT_reserve_writes
    :: target == k -> reserved[k] = me
#endif
#ifdef MUTANT_reserve_found
    :: target == k || (IS_READ(k) && value[k] != 0) -> reserved[k] = me
#endif
#ifndef MUTANT_reserve_writes
#ifndef MUTANT_reserve_found
    :: target == k || IS_READ(k) -> reserved[k] = me
#endif
#endif
    :: else
    fi
}

inline release(who)
{
    if
    :: reserved[0] == who -> reserved[0] = 0
    :: else
    fi;
    if
    :: reserved[1] == who -> reserved[1] = 0
    :: else
    fi
}

inline write_it()
{
    assert(I3 || STILL(0));
    assert(I3 || STILL(1));
    value[target] = (value[target] + 1) % 3
}

#ifdef MUTANT_decide_expelled
#define COUNTS 1
#else
#define COUNTS (!expelled[me])
#endif

#define VALID_HERE                                                                                \
    (COUNTS && STILL(0) && STILL(1) && FREE(target) && (!IS_READ(0) || FREE(0))                   \
     && (!IS_READ(1) || FREE(1)))

active [N] proctype member()
{
    byte me = _pid + 1;
    byte round, key, target;
    byte read[2];
    bit both, prepared;

    do
    :: round < ROUNDS && !expelled[me] ->
        atomic { /* begin: what is read, and what will be written */
            round++;
            if
            :: key = 0
            :: key = 1
            fi;
            if
            :: both = 0
            :: both = 1; key = 0
            fi;
            if
            :: target = 0
            :: target = 1
            fi;
            read[0] = value[0];
            read[1] = value[1]
        }
#ifdef MUTANT_manifest_bare
        if
        :: ignorant[me] = 1 /* resynchronised */
        :: skip
        fi;
#endif
        if
        :: true -> atomic { /* one phase: valid, nothing reserved by others, decided */
            if
            :: VALID_HERE -> write_it()
            :: else /* CONFLICT */
            fi }
        :: true -> atomic { /* PREPARED */
            if
            :: VALID_HERE ->
                reserve(0);
                reserve(1);
                prepared = 1
            :: else
            fi }
            if
            :: prepared ->
                if
                :: true -> atomic { /* DECIDE commit; ignored by apply if EXPEL stands before it */
                    if
                    :: COUNTS -> write_it(); committed[me] = 1
                    :: else
                    fi;
                    release(me);
                    prepared = 0 }
                    atomic { /* told by decided[], never by the put alone */
                        assert(I4 || committed[me] || expelled[me]);
                        committed[me] = 0
                    }
                :: atomic { release(me); prepared = 0 } /* DECIDE abort */
                :: break /* stopped for ever: only EXPEL frees its keys */
                fi
            :: else
            fi
        fi;
        atomic { read[0] = 0; read[1] = 0; key = 0; target = 0; both = 0 }
    :: else -> break
    :: break
    od
}

active proctype expeller()
{
    atomic {
        expelled[1] = 1;
#ifndef MUTANT_expel_keeps
        release(1);
#endif
        assert(I3 || (reserved[0] != 1 && reserved[1] != 1))
    }
}
