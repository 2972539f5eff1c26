/* tables: all route tables of the program as the printed documents want them. */
#ifndef PENSTOCK_CLI_TABLES_H
#define PENSTOCK_CLI_TABLES_H

#include "gateway/api_tables.h"

/* Static; made at the first call, from one thread. */
const struct api_tables *cli_tables(void);

/* All scopes that a caller may be given, in order of first use; answers how many. */
#define CLI_SCOPES_MAX 256
uint32_t cli_scopes(const char *scopes[CLI_SCOPES_MAX]);
/* Whether a scope as someone writes it ("orders:*") covers one of them. */
bool cli_scope_known(struct str given);

#endif
