/* hub_shapes: what the gateway's own answers hold (hub_routes.c writes them by hand). */
#include "gateway/hub_shapes.h"

static const char *const bulk_states[] = {"waits", "taken", NULL};

static const struct shape_field alive_rows[] = {
    SHAPE_SAID("alive", SHAPE_BOOL, "Always true", .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(alive_shape, "alive", "The process lives", alive_rows);

static const struct shape_field ready_read_model_rows[] = {
    SHAPE_SAID("behind", SHAPE_INTEGER, "Events the tables for queries lack",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("behind_ms", SHAPE_INTEGER, "Age of the oldest of these, in ms",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("bulk", SHAPE_ENUM, "Whether bulk calls are taken", .flags = SHAPE_REQUIRED,
               .values = bulk_states),
};
static SHAPE_DEFINE_SAID(ready_read_model_shape, "ready_read_model", "The tables for queries",
                         ready_read_model_rows);
static const struct shape_field ready_rows[] = {
    SHAPE_SAID("ready", SHAPE_BOOL, "Always true: else the answer is 503", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("seq", SHAPE_INTEGER, "The newest position of the journal", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("read_model", SHAPE_OBJECT, "The tables for queries", .flags = SHAPE_REQUIRED,
               .shape = &ready_read_model_shape),
};
SHAPE_DEFINE_SAID(ready_shape, "ready", "The hub takes work", ready_rows);
