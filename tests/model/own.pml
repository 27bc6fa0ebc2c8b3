/* tenure.pml with strict read-only transactions at the owner: PROTOCOL.md section 4, refresh(),
 * "X is me". Asserts I11 (a strict read sees everything that was decided before it began): an owner
 * may answer from its last LAC only after it has read its own TEN.
 *
 * Mutant: m8 owner answers without reading TEN. */
#define OWNER_READS
#include "tenure.pml"
