/* A record in the journal names a base in a pack: PROTOCOL.md section 7, "a record in a tenure
 * names only bytes inside itself or synced before it was written". Asserts I5 at every moment at
 * which the owner may die or the power may fail, and I4. The taker copies records, not packs.
 *
 * Mutants: m11 pack and journal are written and synced side by side;
 * name_unsynced the pack's bytes are synced, its name in the folder is not. */
#include "invariants.h"

bit pack_durable, name_durable, journal_durable;
bit sealed, crashed, decided, acked;

#ifdef MUTANT_m11
proctype pack_writer()
{
    atomic {
        if
        :: !crashed -> pack_durable = 1; name_durable = 1
        :: else
        fi
    }
}
#endif

active proctype owner()
{
    bit flag;

#ifdef MUTANT_m11
    run pack_writer();
#else
    atomic { if :: !crashed -> pack_durable = 1 :: else -> goto end_dead fi }
#ifndef MUTANT_name_unsynced
    atomic { if :: !crashed -> name_durable = 1 :: else -> goto end_dead fi }
#endif
#endif
    atomic { if :: !crashed -> journal_durable = 1 :: else -> goto end_dead fi }
    if
    :: pack_durable
    :: crashed -> goto end_dead
    fi;
    flag = sealed;
    atomic {
        if
        :: !crashed && !flag -> acked = 1
        :: else
        fi
    }
end_dead:
    skip
}

active proctype taker()
{
    bit found;

    sealed = 1;
    found = journal_durable;
    decided = found;
    assert(I4 || !acked || decided)
}

active proctype power()
{
    atomic {
        crashed = 1;
        assert(I5 || !decided || pack_durable);
        assert(I5 || !decided || name_durable)
    }
    /* decided later, from what the journal holds */
    assert(I5 || !decided || (pack_durable && name_durable))
}
