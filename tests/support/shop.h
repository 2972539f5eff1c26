/* shop: a small capability for tests and benches of the store: orders that are captured and
 * shipped, and stock that is reserved; one table. Shapes as large as the real ones. */
#ifndef PENSTOCK_TESTS_SUPPORT_SHOP_H
#define PENSTOCK_TESTS_SUPPORT_SHOP_H

#include "core/capability.h"

struct shop_tax {
    uint64_t has;
    struct str code;
    int64_t rate, base, amount;
};
struct shop_line {
    uint64_t has;
    struct str line_id, sku;
    int64_t quantity, unit_price, total;
    struct shape_list taxes;
};
struct shop_order {
    uint64_t has;
    struct str order_id, channel, channel_order_id, currency, note;
    int64_t grand, version;
    struct shape_list lines;
};
struct shop_shipped {
    uint64_t has;
    int64_t version;
    struct str state;
};
struct shop_reserved {
    uint64_t has;
    struct shape_list lines;
};

#define SHOP(type, member, json, k, ...)                                                          \
    {.name = json, .kind = k, .offset = offsetof(struct type, member), .since = 1, __VA_ARGS__}
static const struct shape_field shop_tax_rows[] = {
    SHOP(shop_tax, code, "code", SHAPE_CODE),
    SHOP(shop_tax, rate, "rate", SHAPE_RATE),
    SHOP(shop_tax, base, "base", SHAPE_MONEY),
    SHOP(shop_tax, amount, "amount", SHAPE_MONEY),
};
static SHAPE_DEFINE(shop_tax_shape, "tax", struct shop_tax, "", shop_tax_rows);
static const struct shape_field shop_line_rows[] = {
    SHOP(shop_line, line_id, "line_id", SHAPE_ID),
    SHOP(shop_line, sku, "sku", SHAPE_ID),
    SHOP(shop_line, quantity, "quantity", SHAPE_DECIMAL),
    SHOP(shop_line, unit_price, "unit_price", SHAPE_MONEY),
    SHOP(shop_line, total, "total", SHAPE_MONEY),
    SHOP(shop_line, taxes, "taxes", SHAPE_LIST, .shape = &shop_tax_shape),
};
static SHAPE_DEFINE(shop_line_shape, "line", struct shop_line, "", shop_line_rows);
static const struct shape_field shop_order_rows[] = {
    SHOP(shop_order, order_id, "order_id", SHAPE_ID),
    SHOP(shop_order, channel, "channel", SHAPE_CODE),
    SHOP(shop_order, channel_order_id, "channel_order_id", SHAPE_ID),
    SHOP(shop_order, currency, "currency", SHAPE_CODE),
    SHOP(shop_order, note, "note", SHAPE_TEXT),
    SHOP(shop_order, grand, "grand", SHAPE_MONEY),
    SHOP(shop_order, version, "version", SHAPE_INTEGER),
    SHOP(shop_order, lines, "lines", SHAPE_LIST, .shape = &shop_line_shape),
};
static SHAPE_DEFINE(shop_order_shape, "order", struct shop_order, "", shop_order_rows);
static const struct shape_field shop_shipped_rows[] = {
    SHOP(shop_shipped, version, "version", SHAPE_INTEGER),
    SHOP(shop_shipped, state, "state", SHAPE_CODE),
};
static SHAPE_DEFINE(shop_shipped_shape, "shipped", struct shop_shipped, "", shop_shipped_rows);
static const struct shape_field shop_reserved_rows[] = {
    SHOP(shop_reserved, lines, "lines", SHAPE_LIST, .shape = &shop_line_shape),
};
static SHAPE_DEFINE(shop_reserved_shape, "reserved", struct shop_reserved, "",
                    shop_reserved_rows);

enum { ORDERS_ID, ORDERS_CHANNEL, ORDERS_REFERENCE, ORDERS_STATE, ORDERS_GRAND, ORDERS_CURRENCY,
       ORDERS_VERSION, ORDERS_SEQ, ORDERS_CREATED, ORDERS_UPDATED, ORDERS_NOTE };
static const struct table_column shop_columns[] = {
    {"order_id", COLUMN_TEXT, ""},   {"channel", COLUMN_TEXT, ""},
    {"reference", COLUMN_TEXT, ""},  {"state", COLUMN_TEXT, ""},
    {"grand", COLUMN_INTEGER, ""},   {"currency", COLUMN_TEXT, ""},
    {"version", COLUMN_INTEGER, ""}, {"seq", COLUMN_INTEGER, ""},
    {"created_us", COLUMN_INTEGER, ""}, {"updated_us", COLUMN_INTEGER, ""},
    {"note", COLUMN_TEXT, ""},
};
static const char *const shop_indexes[] = {"updated_us, order_id", NULL};
static const struct table shop_orders = {.name = "orders",
                                         .columns = shop_columns,
                                         .count = sizeof shop_columns / sizeof shop_columns[0],
                                         .key_columns = 1,
                                         .indexes = shop_indexes};
static const struct table *const shop_tables[] = {&shop_orders, NULL};

static void shop_project_captured(struct rows *rows, const struct event *event) {
    const struct shop_order *order = event->data;
    struct row_value v[11] = {
        [ORDERS_ID] = row_text(event->subject),
        [ORDERS_CHANNEL] = row_text(order->channel),
        [ORDERS_REFERENCE] = row_text(order->channel_order_id),
        [ORDERS_STATE] = row_text(STR("accepted")),
        [ORDERS_GRAND] = row_int(order->grand),
        [ORDERS_CURRENCY] = row_text(order->currency),
        [ORDERS_VERSION] = row_int(1),
        [ORDERS_SEQ] = row_int((int64_t)event->seq),
        [ORDERS_CREATED] = row_int(event->time_us),
        [ORDERS_UPDATED] = row_int(event->time_us),
    };
    rows_put(rows, &shop_orders, (1u << ORDERS_NOTE) - 1, v);
    rows_ref(rows, order->channel_order_id);
}
static void shop_project_shipped(struct rows *rows, const struct event *event) {
    const struct shop_shipped *shipped = event->data;
    struct row_value v[11] = {
        [ORDERS_ID] = row_text(event->subject),
        [ORDERS_STATE] = row_text(shipped->state),
        [ORDERS_VERSION] = row_int(shipped->version),
        [ORDERS_UPDATED] = row_int(event->time_us),
    };
    rows_put(rows, &shop_orders, 1u << ORDERS_STATE | 1u << ORDERS_VERSION | 1u << ORDERS_UPDATED,
             v);
}
static enum err shop_apply(struct state *state, const struct event *event) {
    (void)state, (void)event;
    return OK;
}
static const struct event_type shop_captured = {.name = "order.captured",
                                                .shape = &shop_order_shape,
                                                .apply = shop_apply,
                                                .project = shop_project_captured};
static const struct event_type shop_shipped_type = {.name = "order.shipped",
                                                    .shape = &shop_shipped_shape,
                                                    .apply = shop_apply,
                                                    .project = shop_project_shipped};
static const struct event_type shop_reserved_type = {
    .name = "stock.reserved", .shape = &shop_reserved_shape, .apply = shop_apply};
static const struct event_type *const shop_events[] = {&shop_captured, &shop_shipped_type,
                                                       &shop_reserved_type, NULL};
static const struct command_type *const shop_commands[] = {NULL};
static const struct route shop_routes[] = {{0}};
static const struct capability shop = {.name = "shop",
                                       .commands = shop_commands,
                                       .events = shop_events,
                                       .routes = shop_routes,
                                       .tables = shop_tables};
static const struct capability *const shop_capabilities[] = {&shop, NULL};

/* --- records ---------------------------------------------------------------------------- */

/* Texts of a record written by one of the functions below; valid until the buf is cleared. */
static inline struct str shop_text(struct buf *buf, size_t from) {
    return str_of(buf->data + from, buf->len - from);
}
/* The texts are offsets into buf until shop_fix has been called. */
struct shop_record {
    struct record record;
    size_t subject, meta, data;
};
static inline void shop_meta(struct buf *buf, uint64_t n, uint64_t first, bool is_first) {
    buf_printf(buf, "{\"correlation\":\"corr-%016llx\",\"traceparent\":\"00-4bf92f3577b34da6a3ce9"
                    "29d0e0e4736-%016llx-01\",\"actor\":\"key_web\",\"command\":\"order.capture\","
                    "\"first\":%llu",
               (unsigned long long)(n * 0x9e3779b97f4a7c15u), (unsigned long long)n,
               (unsigned long long)first);
    if (is_first)
        buf_printf(buf, ",\"idem\":\"%016llx%016llx\",\"idem_key\":\"key-%016llx\",\"natural\":"
                        "\"%032llx\",\"fingerprint\":\"%032llx\",\"status\":201,\"answer\":{"
                        "\"order_id\":\"ord_%026llu\",\"state\":\"accepted\",\"version\":1,"
                        "\"correlation_id\":\"corr-%016llx\",\"reservations\":[{\"line_id\":\"1\","
                        "\"location\":\"WH-HAM\",\"quantity\":\"2\"},{\"line_id\":\"2\","
                        "\"location\":\"WH-HAM\",\"quantity\":\"2\"},{\"line_id\":\"3\","
                        "\"location\":\"WH-HAM\",\"quantity\":\"2\"}]}",
                   (unsigned long long)n, (unsigned long long)n,
                   (unsigned long long)(n * 0xbf58476d1ce4e5b9u), (unsigned long long)n,
                   (unsigned long long)n, (unsigned long long)n,
                   (unsigned long long)(n * 0x9e3779b97f4a7c15u));
    buf_char(buf, '}');
}
static inline void shop_line(struct buf *buf, int i, uint64_t sku) {
    buf_printf(buf, "%s{\"line_id\":\"%d\",\"sku\":\"SKU-%06llu\",\"quantity\":\"2\","
                    "\"unit_price\":1999,\"total\":3998,\"taxes\":[{\"code\":\"DE-STD\","
                    "\"rate\":\"0.19\",\"base\":3360,\"amount\":638}]}",
               i > 1 ? "," : "", i, (unsigned long long)sku);
}
/* order.captured for order n. padding: bytes of note. */
static inline void shop_put_captured(struct buf *buf, uint64_t n, uint64_t seq, size_t padding,
                                     struct shop_record *out) {
    *out = (struct shop_record){.record = {.seq = seq, .time_us = (int64_t)(1700000000000000 + n * 10)}};
    out->record.type = STR("order.captured");
    out->subject = buf->len;
    buf_printf(buf, "ord_%026llu", (unsigned long long)n);
    out->meta = buf->len;
    shop_meta(buf, n, seq, true);
    out->data = buf->len;
    buf_printf(buf, "{\"order_id\":\"ord_%026llu\",\"channel\":\"web-de\",\"channel_order_id\":"
                    "\"C%llu\",\"currency\":\"EUR\",\"note\":\"",
               (unsigned long long)n, (unsigned long long)(n * 7919));
    for (size_t i = 0; i < padding; i++)
        buf_char(buf, 'x');
    buf_printf(buf, "\",\"grand\":%llu,\"version\":1,\"lines\":[", (unsigned long long)n);
    for (int i = 1; i <= 3; i++)
        shop_line(buf, i, n * 31 % 100000 + (uint64_t)i);
    buf_lit(buf, "]}");
    out->record.data.len = buf->len - out->data;
    out->record.meta.len = out->data - out->meta;
    out->record.subject.len = out->meta - out->subject;
}
static inline void shop_put_other(struct buf *buf, const char *type, const char *data, uint64_t n,
                                  uint64_t seq, uint64_t first, struct shop_record *out) {
    *out = (struct shop_record){.record = {.seq = seq, .time_us = (int64_t)(1700000000000000 + seq * 10)}};
    out->record.type = str_c(type);
    out->subject = buf->len;
    buf_printf(buf, "ord_%026llu", (unsigned long long)n);
    out->meta = buf->len;
    shop_meta(buf, n, first, false);
    out->data = buf->len;
    buf_printf(buf, "%s", data);
    out->record.data.len = buf->len - out->data;
    out->record.meta.len = out->data - out->meta;
    out->record.subject.len = out->meta - out->subject;
}
/* Once buf does not grow any more. */
static inline void shop_fix(const struct buf *buf, struct shop_record *records, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        records[i].record.subject.ptr = buf->data + records[i].subject;
        records[i].record.meta.ptr = buf->data + records[i].meta;
        records[i].record.data.ptr = buf->data + records[i].data;
    }
}

#endif
