/* webshop: see webshop.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "webshop.h"

struct cell cell;
struct partner shop;

/* Orders and what is cut of them; `cut` has a lane of its own per message, `late` the order's. */
static const char yaml[] =
    "connector: shop\nversion: \"1\"\nowner: ecommerce\nreceive:\n"
    "  - topic: orders\n    signature: {scheme: none}\n    key: {member: id}\n"
    "    version: {member: v}\n    mapping: order.lua\n    command: order.capture\n"
    "  - topic: late\n    signature: {scheme: none}\n    key: {member: id}\n"
    "    version: {member: v}\n    mapping: cut.lua\n    command: order.cancel_by_number\n"
    "  - topic: cut\n    signature: {scheme: none}\n"
    "    mapping: cut.lua\n    command: order.cancel_by_number\n";
static const char order_lua[] =
    "return function(doc) return {channel = 'web-de', channel_order_id = tostring(doc.id),\n"
    "  placed_at = '2026-11-23T09:15:00Z', currency = 'EUR', totals = {grand = 99},\n"
    "  lines = {{line_id = '1', sku = 'A', quantity = '99', unit_price = 1, total = 99}}} end\n";
static const char cut_lua[] =
    "return function(doc) return {channel = 'web-de', channel_order_id = tostring(doc.id),\n"
    "  reference = opt(doc, 'ref'), reason = opt(doc, 'ref'),\n"
    "  lines = opt(doc, 'n') and {{line_id = '1', quantity = tostring(doc.n)}} or nil} end\n";
static const struct partner_file files[] = {
    {"connector.yaml", yaml}, {"order.lua", order_lua}, {"cut.lua", cut_lua}};

static int set_up_with(void (*open)(struct cell *, uint64_t)) {
    open(&cell, 1);
    return partner_open(&shop, &cell, "shop", files, sizeof files / sizeof files[0]) ? 0 : -1;
}
int webshop_set_up(void **state) {
    (void)state;
    return set_up_with(cell_open);
}
int webshop_set_up_shelved(void **state) {
    (void)state;
    return set_up_with(cell_open_shelved);
}
int webshop_tear_down(void **state) {
    (void)state;
    partner_close(&shop);
    cell_close(&cell);
    return 0;
}

bool says(struct str data, const char *what) {
    return memmem(data.ptr, data.len, what, strlen(what)) != NULL;
}

/* The reasons of all cancellations, in order. */
const char *cuts(void) {
    static char text[256];
    text[0] = '\0';
    for (uint32_t i = 0; i < cell.journal.count; i++) {
        struct str data = cell.journal.records[i].data;
        const char *at = str_is(cell.journal.records[i].type, "order.cancelled")
                             ? memmem(data.ptr, data.len, "\"reason\":\"", 10)
                             : NULL;
        if (at)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%c", at[10]);
    }
    return text;
}

/* The case that was raised last. */
const char *raised(void) {
    static char id[64];
    for (uint32_t i = 0; i < cell.journal.count; i++)
        if (str_is(cell.journal.records[i].type, "exception.raised"))
            snprintf(id, sizeof id, "%.*s", STR_FMT(cell.journal.records[i].subject));
    return id;
}
