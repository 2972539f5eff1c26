/* planted: see planted.h. Only in builds that carry planted faults. */
#include "base/planted.h"

#include <stddef.h>

enum plant plant_on = PLANT_NONE;

const struct plant_info plant_table[] = {
#define PLANT(symbol, name, help) {PLANT_##symbol, name, help},
#include "base/planted.def"
#undef PLANT
    {PLANT_NONE, NULL, NULL},
};
