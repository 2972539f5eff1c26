/* tables: all route tables of the program as the printed documents want them. */
#ifndef PENSTOCK_CLI_TABLES_H
#define PENSTOCK_CLI_TABLES_H

#include "gateway/api_tables.h"

/* Static; made at the first call, from one thread. */
const struct api_tables *cli_tables(void);

#endif
