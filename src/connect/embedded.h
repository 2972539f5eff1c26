/* embedded: files of the repository that the binary carries: shipped connectors (connectors/)
 * and default policies (policies/), so that `penstock init` works anywhere. The table is
 * generated at build time by scripts/embed.py. */
#ifndef PENSTOCK_CONNECT_EMBEDDED_H
#define PENSTOCK_CONNECT_EMBEDDED_H

#include <stddef.h>

struct embedded_file {
    const char *path; /* "connectors/shopify/connector.yaml", '/' between parts */
    const unsigned char *data; /* len bytes and a NUL behind them */
    size_t len;
};
/* Sorted by path; path NULL at the end. */
extern const struct embedded_file embedded_files[];

#endif
