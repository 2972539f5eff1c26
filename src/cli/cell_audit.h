/* cell_audit: what the audit is told of the hub itself: that it was started, with which
 * configuration, and stopped; and what was done to its files while it did not look (key_notes). */
#ifndef PENSTOCK_CLI_CELL_AUDIT_H
#define PENSTOCK_CLI_CELL_AUDIT_H

#include "cli/cli.h"
#include "core/core.h"
#include "gateway/key_notes.h"

/* SHA-256 of the configuration: every file of the folder but those of its data folder, by name and
 * content, and the settings as they are with what the environment says. 64 hex digits. ERR_IO. */
#define CONFIG_HASH_TEXT 65
enum err config_hash(const struct config *config, const char *data, char out[CONFIG_HASH_TEXT],
                     struct fault *fault) WARN_UNUSED;

/* "hub.started", with version, configuration, address. */
enum err cell_audit_started(struct core *core, const char *data, const char *url,
                            struct fault *fault) WARN_UNUSED;
void cell_audit_stopped(struct core *core);
/* Journals what waits in keys.db; cheap where nothing does. */
enum err cell_audit_notes(struct core *core, struct key_notes *notes, struct fault *fault)
    WARN_UNUSED;

/* For commands on a cell's files: leaves a note for the hub. EXIT_DONE, or told why not: what can
 * not be told is not done. */
int cell_audit_leave(struct cli *cli, const char *data, const char *action, const char *about);

#endif
