/* api_tables: collects the shapes that a printed document uses. Pure. */
#include "gateway/api_tables.h"

void api_shapes_add(struct api_shapes *set, const struct shape *shape) {
    if (!shape)
        return;
    for (uint32_t i = 0; i < set->count; i++)
        if (set->shapes[i] == shape || strcmp(set->shapes[i]->name, shape->name) == 0)
            return;
    must(set->count < API_SHAPES_MAX);
    set->shapes[set->count++] = shape;
    for (uint32_t i = 0; i < shape->count; i++)
        api_shapes_add(set, shape->fields[i].shape);
}

void api_shapes_write(const struct api_shapes *set, const char *ref_prefix, struct buf *out) {
    for (uint32_t i = 0; i < set->count; i++) {
        if (i > 0)
            buf_char(out, ',');
        buf_json_str(out, str_c(set->shapes[i]->name));
        buf_char(out, ':');
        shape_schema_one(set->shapes[i], ref_prefix, out);
    }
}

static void routes_add(struct api_shapes *set, const struct route *route) {
    for (; route && route->method; route++) {
        api_shapes_add(set, route->command ? route->command->shape : NULL);
        api_shapes_add(set, route->answer);
    }
}

void api_shapes_all(struct api_shapes *set, const struct api_tables *tables) {
    for (const struct capability *const *c = tables->capabilities; *c; c++) {
        routes_add(set, (*c)->routes);
        for (const struct command_type *const *t = (*c)->commands; t && *t; t++)
            api_shapes_add(set, (*t)->shape);
        for (const struct event_type *const *t = (*c)->events; t && *t; t++)
            api_shapes_add(set, (*t)->shape);
    }
    for (const struct api_extra *e = tables->extras; e && e->name; e++)
        routes_add(set, e->routes);
}
