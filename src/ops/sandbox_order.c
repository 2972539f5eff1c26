/* sandbox_order: see sandbox_order.h. Pure. */
#include "ops/sandbox_order.h"

#include "base/decimal.h"
#include "retail/money.h"

#define LINES_MAX 5000

/* An amount; absent counts as `dflt` text where that is given. */
static enum err amount_read(const struct json *holder, const char *name, struct str currency,
                            const char *dflt, int64_t *out, struct fault *fault) {
    const struct json *value = json_member(holder, str_c(name));
    struct str text = value == NULL ? str_c(dflt)
                      : value->kind == JSON_STRING || value->kind == JSON_NUMBER
                          ? value->text
                          : STR_NONE;
    if (text.ptr == NULL)
        return fault_set(fault, ERR_INVALID, "%s: an amount is needed", name);
    if (!money_parse(text, currency, out))
        return fault_set(fault, ERR_INVALID, "%s: \"%.*s\" is no amount of %.*s", name,
                         (int)(text.len < 40 ? text.len : 40), text.ptr, STR_FMT(currency));
    return OK;
}

static enum err list_sum(const struct json *doc, const char *name, struct str currency,
                         int64_t *sum, uint32_t *count, struct fault *fault) {
    const struct json *list = json_member(doc, str_c(name));
    *sum = 0;
    *count = 0;
    if (list == NULL)
        return OK;
    if (list->kind != JSON_ARRAY || list->count > LINES_MAX)
        return fault_set(fault, ERR_INVALID, "%s: a list of at most %d is needed", name, LINES_MAX);
    const struct json *at = json_first(list);
    for (uint32_t i = 0; i < list->count; i++, at = json_next(at)) {
        int64_t amount;
        if (at->kind != JSON_OBJECT)
            return fault_set(fault, ERR_INVALID, "%s: number %u is no object", name, i + 1);
        enum err err = amount_read(at, "amount", currency, NULL, &amount, fault);
        if (err != OK)
            return err;
        if (!decimal_add(*sum, amount, sum))
            return fault_set(fault, ERR_INVALID, "%s: the sum is too large", name);
    }
    *count = list->count;
    return OK;
}

static enum err says(const char *what, int64_t sum, int64_t said, struct str currency,
                     struct fault *fault) {
    if (sum == said)
        return OK;
    struct buf words;
    buf_init(&words, 256);
    money_write(&words, sum, currency);
    buf_lit(&words, ", but the order says ");
    money_write(&words, said, currency);
    enum err err = fault_set(fault, ERR_INVALID, "%s %.*s %.*s", what, (int)words.len, words.data,
                             STR_FMT(currency));
    buf_free(&words);
    return err;
}

static enum err sums_check(const struct json *doc, struct booked *order, struct fault *fault) {
    const struct json *totals = json_member(doc, STR("totals"));
    if (totals == NULL || totals->kind != JSON_OBJECT)
        return fault_set(fault, ERR_INVALID, "totals are missing");
    int64_t lines, charges, said_lines, said_charges, rounding, sum;
    uint32_t charge_count;
    struct str currency = order->currency;
    enum err err = list_sum(doc, "lines", currency, &lines, &order->lines, fault);
    if (err == OK && order->lines == 0)
        err = fault_set(fault, ERR_INVALID, "an order needs a line");
    if (err == OK)
        err = list_sum(doc, "charges", currency, &charges, &charge_count, fault);
    if (err == OK)
        err = amount_read(totals, "lines", currency, NULL, &said_lines, fault);
    if (err == OK)
        err = amount_read(totals, "charges", currency, "0", &said_charges, fault);
    if (err == OK)
        err = amount_read(totals, "rounding", currency, "0", &rounding, fault);
    if (err == OK)
        err = amount_read(totals, "tax", currency, "0", &order->tax, fault);
    if (err == OK)
        err = amount_read(totals, "grand", currency, NULL, &order->grand, fault);
    if (err == OK)
        err = says("the lines add up to", lines, said_lines, currency, fault);
    if (err == OK)
        err = says("the charges add up to", charges, said_charges, currency, fault);
    if (err != OK)
        return err;
    const struct json *included = json_member(doc, STR("tax_included"));
    bool net = included != NULL && included->kind == JSON_BOOL && included->count == 0;
    if (!decimal_add(lines, charges, &sum) || !decimal_add(sum, rounding, &sum) ||
        (net && !decimal_add(sum, order->tax, &sum)))
        return fault_set(fault, ERR_INVALID, "the sum is too large");
    return says("everything adds up to", sum, order->grand, currency, fault);
}

enum err sandbox_order_read(const struct json *doc, struct booked *out, struct fault *fault) {
    *out = (struct booked){0};
    if (doc->kind != JSON_OBJECT)
        return fault_set(fault, ERR_INVALID, "an order is an object");
    out->external_id = json_member_str(doc, STR("external_id"));
    out->channel = json_member_str(doc, STR("channel"));
    out->channel_reference = json_member_str(doc, STR("channel_reference"));
    out->currency = json_member_str(doc, STR("currency"));
    if (out->external_id.len == 0 || out->external_id.len > 128)
        return fault_set(fault, ERR_INVALID, "external_id is missing");
    if (out->channel.len > 64 || out->channel_reference.len > 128)
        return fault_set(fault, ERR_INVALID, "channel or channel_reference is too long");
    if (currency_decimals(out->currency) < 0)
        return fault_set(fault, ERR_INVALID, "currency is missing or unknown");
    return sums_check(doc, out, fault);
}
