/* Validation by key, not by page: PROTOCOL.md section 5. One key k on page 0, which may be split
 * so that k moves to page 1 (a split touches no key). A transaction reads "k absent", others split
 * and insert; it validates and commits. Asserts I3: what it read still holds where it commits.
 * occ_range.pml is the larger model of the same section.
 *
 * Mutant: m10 validation only on the pages of the read set. */
#include "invariants.h"

byte where;           /* page of k */
bit present;
byte version[2];
bit touched[2];       /* k was touched by a record on this page since the snapshot */

active proctype transaction()
{
    byte page, version_read;
    bit absent, valid;

    atomic {
        page = where;
        absent = !present;
        version_read = version[page];
        touched[0] = 0;
        touched[1] = 0
    }
    skip;
    atomic {
#ifdef MUTANT_m10
        valid = (version[page] == version_read || !touched[page]);
#else
        /* found again by key: history of the page where k is now, and of where it was */
        valid = ((version[page] == version_read && where == page)
                 || (!touched[page] && !touched[where]));
#endif
        assert(I3 || !valid || present == !absent)
    }
}

active proctype splitter()
{
    atomic { where = 1; version[0]++; version[1]++ }
}

active proctype writer()
{
    atomic { present = 1; version[where]++; touched[where] = 1 }
}
