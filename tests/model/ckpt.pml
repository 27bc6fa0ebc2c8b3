/* Checkpoints inside a tenure: PROTOCOL.md section 8 (checkpoint, fold, unlinking of journals), 7
 * (durability interval: shown and LAC) and 4 (resync: "the manifest of the greatest L whose files
 * exist"), 9 (two kept manifests, pins).
 *
 * The owner appends records 1..RECORDS to journal files of PER_FILE records; a record is appended,
 * shown (interval), synced, LAC. The checkpointer takes L <= LAC, syncs the folded bytes into a
 * pack, then the manifest, then asks the owner for a CHECKPOINT record; once that is <= LAC it is
 * official, and what lies below the OLDER of the two kept ones goes. A reader pins a snapshot and
 * keeps the handles that were valid there. At every moment the power may fail: unsynced records and
 * manifests survive or not, one manifest may have decayed (A4), and the volume is opened again.
 *
 * Asserts I5 (a decided CHECKPOINT record names a durable manifest, a manifest durable bytes), I8
 * (nothing <= LAC is lost), I10 (what reopening or a pinned reader needs exists), I12 (a manifest
 * on the volume is at a decided LSN, so replay from it is the state of everybody else).
 *
 * Mutants: redo_newer journals go below the newer kept redo; record_first the CHECKPOINT record is
 * written before the manifest is synced; beyond_lac L is what is shown, not LAC; into_journals
 * extents point into journals; pack_late the manifest is synced before the pack; pack_newer packs
 * go when the newest checkpoint no longer names them; pin_ignored journals go without asking for
 * pins; pin_redo a pin is compared with L instead of the LSN of the CHECKPOINT record. */
#include "invariants.h"
#ifndef RECORDS
#define RECORDS 6
#endif
#define PER_FILE 2
#define FILES (RECORDS / PER_FILE)
#define CKPTS 3
#define FILE_OF(r) (((r) - 1) / PER_FILE)
#define FILE_END(f) (((f) + 1) * PER_FILE)

byte appended, durable, lac, shown;
bit journal_gone[FILES];

/* checkpoint i = 1..CKPTS */
byte redo[CKPTS + 1];        /* L */
byte decided_at[CKPTS + 1];  /* LSN c of its CHECKPOINT record; 0 = not appended */
bit begun[CKPTS + 1];        /* its manifest can be on the volume */
bit manifest[CKPTS + 1];     /* ... is, for certain */
bit manifest_gone[CKPTS + 1];
bit pack[CKPTS + 1];         /* its folded bytes are durable */
bit pack_gone[CKPTS + 1];
byte newer, older;           /* the two kept official checkpoints */

byte pin;                    /* 0 = none (nobody pins the empty state) */
byte pin_base;               /* the checkpoint whose handles the reader holds */
byte want;                   /* the CHECKPOINT record that the owner shall append */

inline checks_of_decided()
{
    assert(I5 || newer == CKPTS || decided_at[newer + 1] == 0 || decided_at[newer + 1] > lac
           || (manifest[newer + 1] && pack[newer + 1]))
}

active proctype owner()
{
    do
    :: atomic { appended < RECORDS -> appended++ }
    :: atomic { appended < RECORDS && want != 0 ->
        appended++;
        decided_at[want] = appended;
        want = 0 }
    :: shown < appended -> shown = appended /* interval: acknowledged, may be lost */
    :: durable < appended ->
        durable = appended;
        atomic {
            lac = durable;
            if
            :: shown < lac -> shown = lac
            :: else
            fi;
            checks_of_decided()
        }
    :: break
    od
}

active proctype checkpointer()
{
    byte i = 1;

    do
    :: i <= CKPTS ->
#ifdef MUTANT_beyond_lac
end_none: atomic { shown > redo[newer]; redo[i] = shown }
#else
end_none: atomic { lac > redo[newer]; redo[i] = lac }
#endif
#ifdef MUTANT_pack_late
        begun[i] = 1;
        manifest[i] = 1;
        pack[i] = 1;
#else
        pack[i] = 1;
#ifdef MUTANT_record_first
        want = i;
#endif
        begun[i] = 1;
        manifest[i] = 1;
#endif
#ifndef MUTANT_record_first
        want = i;
#endif
end_wait: atomic {
            decided_at[i] != 0 && lac >= decided_at[i];
            older = newer;
            newer = i
        }
        i++
    :: else -> break
    od
}

#ifdef MUTANT_redo_newer
#define KEPT newer
#else
#define KEPT older
#endif
#ifdef MUTANT_pack_newer
#define KEPT_PACK newer
#else
#define KEPT_PACK older
#endif
#ifdef MUTANT_pin_redo
#define REPLACED_AT(i) redo[i]
#else
#define REPLACED_AT(i) decided_at[i]
#endif
#ifdef MUTANT_pin_ignored
#define PIN_ALLOWS(i) 1
#else
#define PIN_ALLOWS(i) (pin == 0 || pin >= REPLACED_AT(i))
#endif

active proctype sweeper()
{
    byte f, i;

end:
    do
    :: atomic { i + 1 < KEPT_PACK && !manifest_gone[i + 1] -> manifest_gone[i + 1] = 1 }
    :: atomic { i + 1 < KEPT_PACK && !pack_gone[i + 1] && PIN_ALLOWS(i + 2) ->
        pack_gone[i + 1] = 1 }
    :: atomic { i + 1 < KEPT_PACK && pack_gone[i + 1] && manifest_gone[i + 1] -> i++ }
    :: atomic { f < FILES && KEPT != 0 && FILE_END(f) <= redo[KEPT] ->
        /* the checkpoint that replaced the bytes of this file: the first one above it */
        byte by = 1;
        do
        :: redo[by] < FILE_END(f) -> by++
        :: else -> break
        od;
        if
        :: PIN_ALLOWS(by) -> journal_gone[f] = 1; f++
        :: else -> break
        fi;
        by = 1 }
    od
}

active proctype reader()
{
    byte f;

    do
    :: atomic { pin == 0 && shown > 0 -> /* begin: pin, and the handles that hold at the pin */
        pin = shown;
        pin_base = CKPTS;
        do
        :: pin_base > 0 && (decided_at[pin_base] == 0 || decided_at[pin_base] > pin) ->
            pin_base--
        :: else -> break
        od }
    :: atomic { pin != 0 -> /* read everything of the snapshot */
        assert(I10 || pin_base == 0 || !pack_gone[pin_base]);
        do
        :: f < FILES ->
            assert(I10 || FILE_END(f) <= redo[pin_base] || f * PER_FILE >= pin
                   || !journal_gone[f]);
            f++
        :: else -> break
        od;
        f = 0;
        if
        :: pin = 0; pin_base = 0
        :: skip
        fi }
    :: break
    od
}

/* The power may fail now: what would an opening find? Looks, and changes nothing. */
active proctype power()
{
    byte end_of_journal, m, bad, f;

    atomic {
        select(end_of_journal : durable .. appended);
        select(bad : 0 .. CKPTS);
        m = CKPTS;
        do
        :: m > 0 && (!begun[m] || manifest_gone[m] || m == bad) -> m--
        :: m > 0 && begun[m] && !manifest[m] -> m-- /* not synced: lost */
        :: m == 0 -> break
        :: m > 0 && begun[m] && !manifest_gone[m] && m != bad -> break
        od;
        assert(I12 || m == 0 || redo[m] <= end_of_journal);
        assert(I5 || m == 0 || pack[m]);
        assert(I10 || m == 0 || !pack_gone[m]);
        do
        :: f < FILES ->
            assert(I10 || FILE_END(f) <= redo[m] || f * PER_FILE >= end_of_journal
                   || !journal_gone[f]);
#ifdef MUTANT_into_journals
            assert(I10 || f * PER_FILE >= redo[m] || !journal_gone[f]);
#endif
            f++
        :: else -> break
        od
    }
}
