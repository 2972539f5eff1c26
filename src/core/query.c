/* query: what routes ask of their query parameters. See capability.h. */
#include "core/capability.h"

struct str query_value(const struct query *query, const char *name) {
    for (uint32_t i = 0; i < query->value_count; i++)
        if (str_is(query->values[i].name, name))
            return query->values[i].value;
    return STR_NONE;
}

enum err query_limit(const struct query *query, uint32_t dflt, uint32_t max, uint32_t *out,
                     struct fault *fault) {
    struct str text = query_value(query, "limit");
    uint64_t limit = dflt;
    if (text.ptr && (!str_u64(text, &limit) || limit < 1 || limit > max)) {
        fault_add(fault, STR("limit"), "must be a whole number from 1 to %u", max);
        return ERR_INVALID;
    }
    *out = (uint32_t)limit;
    return OK;
}

enum err query_body(struct query *query, const struct shape *shape, void **out, struct fault *fault) {
    const struct json *json;
    struct str text = arena_str(query->arena, query->body.len ? query->body : STR("{}"));
    if (!text.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for the body");
    enum err err = json_parse(query->reader->parser, query->arena, text, false, &json, fault);
    return err == OK ? shape_decode(shape, json, query->arena, STR(""), out, fault) : err;
}

static void text_or_null(struct buf *out, struct str value) {
    if (value.ptr)
        buf_json_str(out, value);
    else
        buf_lit(out, "null");
}

void query_member(struct query *query, const char *name, struct str value) {
    buf_printf(query->out, ",\"%s\":", name);
    text_or_null(query->out, value);
}

void list_begin(struct buf *out) { buf_lit(out, "{\"items\":["); }

void list_next(struct buf *out) {
    if (out->len > 0 && out->data[out->len - 1] != '[')
        buf_char(out, ',');
}

void list_end(struct buf *out, struct str next_cursor) {
    buf_lit(out, "],\"next_cursor\":");
    text_or_null(out, next_cursor);
    buf_char(out, '}');
}

struct page {
    struct query *query;
    void (*item)(struct query *query, const struct row_value *values);
};

static bool page_visit(void *ctx, const struct row_value *values) {
    struct page *page = ctx;
    list_next(page->query->out);
    page->item(page->query, values);
    return buf_ok(page->query->out);
}

enum err query_rows(struct query *query, const struct table *table, uint32_t sort_column,
                    const struct query_filter *by,
                    void (*item)(struct query *query, const struct row_value *values),
                    struct fault *fault) {
    struct row_filter filters[QUERY_FILTERS_MAX];
    struct row_query rows = {.table = table, .filters = filters, .sort_column = sort_column,
                             .cursor = query_value(query, "cursor")};
    for (; by->param; by++) {
        struct str value = query_value(query, by->param);
        must(rows.filter_count < QUERY_FILTERS_MAX);
        if (value.ptr)
            filters[rows.filter_count++] = (struct row_filter){by->column, ROW_EQ, row_text(value)};
    }
    enum err err = query_limit(query, 100, 1000, &rows.limit, fault);
    if (err != OK)
        return err;
    struct page page = {.query = query, .item = item};
    list_begin(query->out);
    err = query->reader->ops->list(query->reader, &rows, query->arena, page_visit, &page,
                                   &query->next_cursor, fault);
    list_end(query->out, query->next_cursor);
    return err;
}
