/* A tenure sealed by somebody who then died: PROTOCOL.md section 4, refresh(), "not live and no
 * next slot: FINISH THE TAKE-OVER". Asserts that a strict read at another member sees everything
 * acknowledged before it began (I8, I11).
 *
 * Mutant: m9 the reader answers from the LAC that it knows, under a sealed TEN without a cut. */
#include "invariants.h"
#ifndef RECORDS
#define RECORDS 2
#endif

byte durable, lac, acked, cut;
bit sealed, successor;

inline finish(c)
{
    atomic {
        if
        :: !successor -> successor = 1; cut = c
        :: else
        fi;
        assert(I8 || acked <= cut)
    }
}

active proctype owner()
{
    bit flag;

    do
    :: durable < RECORDS ->
        durable++;
        flag = sealed;
        if
        :: !flag -> acked = durable; lac = durable
        :: else -> break
        fi
    :: else -> break
    od
}

active proctype sealer()
{
    byte c;

    sealed = 1;
    if
    :: skip /* dies here */
    :: c = durable; finish(c)
    fi
}

active proctype reader()
{
    byte before, known, c, answer;
    bit flag, answers = 1;

    known = lac;    /* what beat or notice told: may be old */
    before = acked; /* the strict transaction begins */
    flag = sealed;
    if
    :: !flag ->
        c = durable;
        if
        :: lac >= c -> answer = c
        :: else -> answers = 0 /* waits for LAC, or seals */
        fi
    :: else ->
        if
        :: successor -> answer = cut
        :: else ->
#ifdef MUTANT_m9
            answer = known
#else
            c = durable;
            finish(c);
            answer = cut
#endif
        fi
    fi;
    assert(I11 || !answers || answer >= before)
}
