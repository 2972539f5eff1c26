/* connector_priv: the parts of `penstock connector`. */
#ifndef PENSTOCK_CLI_CONNECTOR_PRIV_H
#define PENSTOCK_CLI_CONNECTOR_PRIV_H

#include "cli/cli.h"

int connector_new(struct cli *cli);  /* connector.c */
int connector_test(struct cli *cli); /* connector_test.c */
int connector_list(struct cli *cli); /* connector_list.c */
int connector_expected(struct cli *cli); /* connector_expected.c */

#endif
