/* planted: faults that are there on purpose, so that a test can show that it would find them
 * (mutation testing by hand). They are compiled in only where the build was set up with
 * -Dplanted=true, which no release is; else PLANTED(X) is the constant false and leaves nothing.
 * In such a build one of them is switched on by `penstock-sim --plant NAME`. */
#ifndef PENSTOCK_BASE_PLANTED_H
#define PENSTOCK_BASE_PLANTED_H

#include <stdbool.h>

#ifdef PENSTOCK_PLANTED

enum plant {
    PLANT_NONE,
#define PLANT(symbol, name, help) PLANT_##symbol,
#include "base/planted.def"
#undef PLANT
};
extern enum plant plant_on; /* before anything else runs */
struct plant_info {
    enum plant plant;
    const char *name, *help;
};
extern const struct plant_info plant_table[]; /* ends with name NULL */

#define PLANTED(symbol) (plant_on == PLANT_##symbol)

#else
#define PLANTED(symbol) false
#endif

#endif
