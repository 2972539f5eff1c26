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

void api_envelope_write(struct buf *out) {
    buf_lit(out,
            "\"cloudevent\":{\"type\":\"object\",\"description\":\"The envelope every event comes in "
            "(CloudEvents 1.0.2, structured JSON)\",\"required\":[\"specversion\",\"id\",\"source\","
            "\"type\",\"time\",\"subject\",\"penstockseq\"],\"properties\":{"
            "\"specversion\":{\"const\":\"1.0\"},"
            "\"id\":{\"type\":\"string\",\"description\":\"Stable for ever: cell and position in the "
            "journal. A redelivery carries the same id\"},"
            "\"source\":{\"type\":\"string\",\"format\":\"uri-reference\",\"description\":"
            "\"/penstock/<cell>\"},"
            "\"type\":{\"type\":\"string\"},"
            "\"subject\":{\"type\":\"string\",\"description\":\"What the event is about; the order of "
            "events is kept per subject\"},"
            "\"time\":{\"type\":\"string\",\"format\":\"date-time\",\"description\":\"When the hub "
            "recorded it\"},"
            "\"datacontenttype\":{\"const\":\"application/json\"},"
            "\"penstockseq\":{\"type\":\"integer\",\"minimum\":1,\"description\":\"Position in the "
            "journal, without holes\"},"
            "\"correlationid\":{\"type\":\"string\",\"description\":\"Joins everything one business "
            "case did\"},"
            "\"traceparent\":{\"type\":\"string\",\"description\":\"W3C Trace Context of the "
            "request\"},"
            "\"partitionkey\":{\"type\":\"string\",\"description\":\"Equal to subject\"},"
            "\"data\":{\"type\":\"object\"}}}");
}

void api_param_schema_write(const struct query_param *p, struct buf *out) {
    switch (p->kind) {
    case QUERY_WHOLE:
        buf_printf(out, "{\"type\":\"integer\",\"minimum\":%lld,\"maximum\":%lld}", (long long)p->min,
                   (long long)p->max);
        break;
    case QUERY_TIME: buf_lit(out, "{\"type\":\"string\",\"format\":\"date-time\"}"); break;
    case QUERY_WORD:
        buf_lit(out, "{\"type\":\"string\",\"enum\":[");
        for (const char *const *v = p->values; *v; v++) {
            buf_str_add(out, str_c(v == p->values ? "" : ","));
            buf_json_str(out, str_c(*v));
        }
        buf_lit(out, "]}");
        break;
    case QUERY_TEXT: buf_lit(out, "{\"type\":\"string\"}"); break;
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
