/* What every volume promises (engine/volume/volume.h), as cases that each back end's test runs
 * on an empty volume of its own. */
#ifndef SOP_TEST_VOLUME_CONTRACT_H
#define SOP_TEST_VOLUME_CONTRACT_H

#include "engine/volume/volume.h"

/* Number of cases; case i ends the test by Check if a promise is broken. Cases leave no open
 * files behind. */
int volume_contract_cases(void);
void volume_contract_run(int i, struct sop_volume *v);

/* Ends the test unless rc is 0; shows the text of err. */
void volume_ok(int rc, const struct sop_err *err);
/* Bytes of a file, as a string of the given length at most 256; ends the test if other. */
void volume_expect_file(struct sop_volume *v, const char *path, const char *content);
/* Creates a file with this content, not synced. */
void volume_put_file(struct sop_volume *v, const char *path, const char *content);
enum sop_file_kind volume_kind(struct sop_volume *v, const char *path);

#endif
