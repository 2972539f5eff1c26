/* version: of the program, as `penstock --version` and the printed documents say it. */
#ifndef PENSTOCK_BASE_VERSION_H
#define PENSTOCK_BASE_VERSION_H

#define PENSTOCK_VERSION "0.1.0"

#endif
