/* Names of the invariants of docs/PROTOCOL.md section 12, for use in assertions:
 *
 *     assert(I8 || acked <= cut)
 *
 * They are constants 0. What they are for: pan prints the text of the assertion that failed, so
 * the runner sees which invariant caught a mutant. `hidden` keeps them out of the state. */
hidden byte I1, I2, I3, I4, I5, I6, I7, I8, I9, I10, I11, I12;
/* Not an invariant of the protocol but a promise of section 11: after a mere power loss the
 * database opens; DATA_LOSS is told only where bytes decayed. */
hidden byte NO_FALSE_ALARM;
/* What a writer was told by section 4 (FAILED, aborted) is true. */
hidden byte TOLD_TRUTH;
