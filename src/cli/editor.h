/* editor: what editors need to complete and check connector.yaml: its JSON Schema in
 * DIR/.schemas/connector.json, which the first line of the file names for the YAML language server. */
#ifndef PENSTOCK_CLI_EDITOR_H
#define PENSTOCK_CLI_EDITOR_H

#include "base/err.h"

#define EDITOR_LINE "# yaml-language-server: $schema=../../.schemas/connector.json\n"

/* Writes the schema of this program. ERR_IO, ERR_NOMEM. */
enum err editor_schema_put(const char *dir, struct fault *fault) WARN_UNUSED;

#endif
