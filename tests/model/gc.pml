/* Old versions and the beat's pins: PROTOCOL.md section 9, "the beat publishes the newest pin ...
 * idle members publish their last head, never infinity". Asserts I10: no piece is unlinked that
 * a member that is not expelled may still read.
 *
 * Slot v installs version v of one page and replaces v-1. A member reads at a snapshot S twice,
 * with other steps between; a stopped member may be expelled at any time.
 *
 * Mutants: m6 an idle member publishes "no pin" = infinity; pin_head the reader publishes the head
 * instead of its snapshot. */
#include "invariants.h"
#ifndef N
#define N 2
#endif
#ifndef VERSIONS
#define VERSIONS 4
#endif

byte head;
byte pin[N];
bit gone[VERSIONS], expelled[N];

active [N] proctype member()
{
    byte me = _pid;
    byte h, snapshot;

    do
    :: expelled[me] -> break
    :: h < head -> h = head
    :: atomic { head < VERSIONS - 1 && h == head -> head++; h = head }
    :: atomic { h == head || h < head -> snapshot = h }
#ifdef MUTANT_pin_head
        pin[me] = head;
#endif
        assert(I10 || !gone[snapshot] || expelled[me]);
        skip;
        assert(I10 || !gone[snapshot] || expelled[me]);
        atomic { snapshot = 0; pin[me] = h } /* done: the pin moves to my head */
#ifdef MUTANT_m6
    :: pin[me] = VERSIONS /* idle */
#endif
    :: break
    od
}

active proctype sweeper()
{
    byte v = 1;
    byte i, least;

    do
    :: v < VERSIONS ->
        least = VERSIONS;
        i = 0;
        do
        :: i < N ->
            if
            :: !expelled[i] && pin[i] < least -> least = pin[i]
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: least >= v && head >= v -> gone[v - 1] = 1; v++
        :: else ->
            if
            :: expelled[0] = 1
            :: break
            fi
        fi
    :: else -> break
    od
}
