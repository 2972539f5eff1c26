/* problem: see problem.h. */
#include "gateway/problem.h"

#include <stdio.h>

#include "base/pan.h"

static void errors_write(struct buf *out, const struct fault *fault) {
    buf_lit(out, ",\"errors\":[");
    for (const struct fault_item *item = fault->first; item; item = item->next) {
        if (item != fault->first)
            buf_char(out, ',');
        buf_lit(out, "{\"pointer\":");
        buf_json_str(out, item->pointer);
        buf_lit(out, ",\"detail\":");
        buf_json_str(out, item->detail);
        buf_char(out, '}');
    }
    buf_char(out, ']');
}

/* The first fault, and how many are not told. */
static void detail_many(struct buf *out, const struct fault *fault) {
    char text[sizeof fault->detail + 80];

    snprintf(text, sizeof text, "%s; and %u more, of which %d are listed", fault->detail,
             fault->count - 1, FAULT_ITEMS_MAX - 1);
    buf_json_str(out, str_c(text));
}

void problem_write(struct buf *out, enum err err, const struct fault *fault,
                   struct str correlation) {
    const struct err_info *info = err_info(err);
    size_t from = out->len;

    buf_printf(out,
               "{\"type\":\"https://penstock.org/problems/%s\",\"title\":\"%s\",\"status\":%d,"
               "\"detail\":",
               info->slug, info->title, info->status);
    if (fault->detail[0] && fault->count > FAULT_ITEMS_MAX)
        detail_many(out, fault);
    else if (fault->detail[0])
        buf_json_str(out, str_c(fault->detail));
    else if (fault->count == 1 && fault->first)
        buf_json_str(out, fault->first->detail);
    else if (fault->count > FAULT_ITEMS_MAX)
        buf_printf(out, "\"%u faults, of which %d are listed\"", fault->count, FAULT_ITEMS_MAX);
    else if (fault->count > 0)
        buf_printf(out, "\"%u faults\"", fault->count);
    else
        buf_json_str(out, str_c(info->title));
    if (fault->first)
        errors_write(out, fault);
    if (correlation.ptr) {
        buf_lit(out, ",\"correlation_id\":");
        buf_json_str(out, correlation);
    }
    buf_char(out, '}');
    if (buf_ok(out)) /* what is told of a fault may repeat what was sent */
        pan_mask(out->data + from, out->len - from);
}
