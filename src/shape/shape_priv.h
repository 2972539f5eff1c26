/* shape_priv: what the engine's files share: defaults of the kinds. */
#ifndef PENSTOCK_SHAPE_SHAPE_PRIV_H
#define PENSTOCK_SHAPE_SHAPE_PRIV_H

#include "base/decimal.h"
#include "shape/shape.h"

#define SHAPE_ID_MAX 128
#define SHAPE_CODE_MAX 64
#define SHAPE_TEXT_MAX 4096
#define SHAPE_LIST_MAX 1000

/* By enum shape_kind, as snapshots name them. */
#define SHAPE_KIND_NAMES                                                                           \
    {                                                                                              \
        [SHAPE_ID] = "id", [SHAPE_CODE] = "code", [SHAPE_TEXT] = "text", [SHAPE_MONEY] = "money",  \
        [SHAPE_INTEGER] = "integer", [SHAPE_DECIMAL] = "decimal", [SHAPE_RATE] = "rate",           \
        [SHAPE_INSTANT] = "instant", [SHAPE_DATE] = "date", [SHAPE_ENUM] = "enum",                 \
        [SHAPE_BOOL] = "bool", [SHAPE_OBJECT] = "object", [SHAPE_LIST] = "list",                   \
        [SHAPE_OPEN] = "open", [SHAPE_RAW] = "raw",                                                \
    }

/* Most bytes (ID, CODE, TEXT) or elements (LIST). */
static inline int64_t shape_most(const struct shape_field *field) {
    if (field->max > 0)
        return field->max;
    switch (field->kind) {
    case SHAPE_ID: return SHAPE_ID_MAX;
    case SHAPE_CODE: return SHAPE_CODE_MAX;
    case SHAPE_LIST: return SHAPE_LIST_MAX;
    default: return SHAPE_TEXT_MAX;
    }
}

/* Fewest bytes or elements: an id or a code is never empty. */
static inline int64_t shape_least(const struct shape_field *field) {
    if ((field->kind == SHAPE_ID || field->kind == SHAPE_CODE) && field->min < 1)
        return 1;
    return field->min;
}

static inline int shape_scale(const struct shape_field *field) {
    return field->kind == SHAPE_DECIMAL ? QTY_SCALE : field->kind == SHAPE_RATE ? RATE_SCALE : 0;
}

#endif
