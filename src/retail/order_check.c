/* order_check: what the order's tables can not say: known codes, unique ids, and the sums of
 * API.md ("Canonical order").
 *
 * With a rounding bound the sums are first only measured. Where the differences stay within the
 * bound, the channel's own amounts (lines, shipping, taxes, tenders, grand) are kept, partial
 * totals become what the lines add up to, and totals.rounding takes the rest, so that afterwards
 * grand = lines + shipping + rounding (+ tax) holds in every order that passed. */
#include <stdio.h>
#include <stdlib.h>

#include "retail/country.h"
#include "retail/limits.h"
#include "retail/money.h"
#include "retail/order.h"

struct check {
    struct order *order;
    struct arena *arena;
    struct fault *fault;
    uint64_t faults;
    bool measuring; /* differences of sums are measured, not reported */
    bool overflow;
    bool nomem;
    int64_t lines_off; /* of all line totals together */
    int64_t off;       /* the largest difference */
};

/* What the lines add up to. */
struct sums {
    int64_t lines, discount, shipping, tax;
    uint64_t tax_lines;
};

static void refuse(struct check *check, struct str pointer, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
static void refuse(struct check *check, struct str pointer, const char *fmt, ...) {
    char text[300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    check->faults++;
    fault_add(check->fault, pointer, "%s", text);
}

static struct str pointer_at(struct check *check, const char *list, uint32_t i,
                             const char *member) {
    return arena_printf(check->arena, "/%s/%u/%s", list, i, member);
}

static void sum_add(struct check *check, int64_t *sum, int64_t value) {
    if (!decimal_add(*sum, value, sum))
        check->overflow = true;
}

static int64_t size_of(int64_t value) { return value < 0 ? -value : value; }

static void measure(struct check *check, int64_t difference) {
    if (size_of(difference) > check->off)
        check->off = size_of(difference);
}

/* --- codes and defaults ---------------------------------------------------------------- */
static void currency_check(struct check *check, struct str code, const char *pointer) {
    if (currency_decimals(code) < 0)
        refuse(check, str_c(pointer), "\"%.*s\" is not an active currency of ISO 4217",
               STR_FMT(code));
}

static void address_check(struct check *check, const struct address *address,
                          const char *pointer) {
    if (shape_has(address, ADDRESS_COUNTRY) && !country_valid(address->country))
        refuse(check, str_c(pointer), "\"%.*s\" is not a country of ISO 3166-1 alpha-2",
               STR_FMT(address->country));
}

static void head_check(struct check *check) {
    struct order *order = check->order;
    if (!shape_has(order, ORDER_PRICES_INCLUDE_TAX)) {
        order->prices_include_tax = true;
        shape_mark(order, ORDER_PRICES_INCLUDE_TAX);
    }
    currency_check(check, order->currency, "/currency");
    bool base = shape_has(order, ORDER_BASE_CURRENCY), rate = shape_has(order, ORDER_EXCHANGE_RATE);
    if (base)
        currency_check(check, order->base_currency, "/base_currency");
    if (base && !rate)
        refuse(check, STR("/exchange_rate"), "is required where base_currency is given");
    if (rate && !base)
        refuse(check, STR("/base_currency"), "is required where exchange_rate is given");
    if (shape_has(order, ORDER_SHIP_TO))
        address_check(check, order->ship_to, "/ship_to/country");
    if (shape_has(order, ORDER_BILL_TO))
        address_check(check, order->bill_to, "/bill_to/country");
}

/* --- ids ------------------------------------------------------------------------------- */
struct id_at {
    struct str id;
    uint32_t at;
};

static int id_order(const void *a, const void *b) {
    const struct id_at *x = a, *y = b;
    int order = str_cmp(x->id, y->id);
    return order ? order : (x->at > y->at) - (x->at < y->at);
}

static void id_twice(struct check *check, const char *list, const char *member, struct id_at first,
                     struct id_at again) {
    refuse(check, pointer_at(check, list, again.at, member),
           "\"%.*s\" is already the %s of element %u", STR_FMT(first.id), member, first.at);
}

#define FEW 16 /* up to here comparing all pairs is quicker than sorting */

/* Gives every element of a list an id (default: prefix and position, from 1) and refuses one
 * given twice. The id is at `offset` in the element, its presence bit in row `row`. */
static void ids_check(struct check *check, const struct shape_list *list, size_t size,
                      size_t offset, uint32_t row, const char *prefix, const char *name,
                      const char *member) {
    struct id_at few[FEW], *ids = few;
    if (list->count > FEW && !(ids = arena_array(check->arena, list->count, sizeof *ids))) {
        check->nomem = true;
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        char *element = (char *)list->items + size * i;
        uint64_t *has = (uint64_t *)(void *)element;
        struct str *id = (struct str *)(void *)(element + offset);
        if (!(*has >> row & 1)) {
            *id = arena_printf(check->arena, "%s%u", prefix, i + 1);
            *has |= UINT64_C(1) << row;
            check->nomem |= !id->ptr;
        }
        ids[i] = (struct id_at){*id, i};
    }
    if (check->nomem)
        return;
    if (list->count <= FEW) {
        for (uint32_t i = 1; i < list->count; i++)
            for (uint32_t k = 0; k < i; k++)
                if (str_eq(ids[k].id, ids[i].id)) {
                    id_twice(check, name, member, ids[k], ids[i]);
                    break;
                }
        return;
    }
    qsort(ids, list->count, sizeof *ids, id_order);
    uint32_t first = 0;
    for (uint32_t i = 1; i < list->count; i++) {
        if (str_eq(ids[first].id, ids[i].id))
            id_twice(check, name, member, ids[first], ids[i]);
        else
            first = i;
    }
}

static void all_ids_check(struct check *check) {
    struct order *order = check->order;
    ids_check(check, &order->lines, sizeof(struct order_line), offsetof(struct order_line, line_id),
              LINE_LINE_ID, "", "lines", "line_id");
    ids_check(check, &order->shipping, sizeof(struct shipping_line),
              offsetof(struct shipping_line, line_id), SHIPPING_LINE_ID, "s", "shipping",
              "line_id");
    ids_check(check, &order->tenders, sizeof(struct tender), offsetof(struct tender, tender_id),
              TENDER_TENDER_ID, "t", "tenders", "tender_id");
}

/* --- lines ----------------------------------------------------------------------------- */
static void line_total_wrong(struct check *check, const struct order_line *line, uint32_t i,
                             int64_t should) {
    struct buf quantity;
    buf_init(&quantity, 128);
    decimal_write(&quantity, line->quantity, QTY_SCALE);
    buf_lit(&quantity, " x unit_price ");
    buf_i64(&quantity, line->unit_price);
    if (line->price_quantity != QTY_ONE) {
        buf_lit(&quantity, " / price_quantity ");
        decimal_write(&quantity, line->price_quantity, QTY_SCALE);
    }
    refuse(check, pointer_at(check, "lines", i, "total"),
           "must be %lld (quantity %s - discount %lld), not %lld: differs by %lld",
           (long long)should, buf_cstr(&quantity), (long long)line->discount,
           (long long)line->total, (long long)(line->total - should));
    buf_free(&quantity);
}

static void line_check(struct check *check, struct order_line *line, uint32_t i) {
    if (!shape_has(line, LINE_PRICE_QUANTITY)) {
        line->price_quantity = QTY_ONE;
        shape_mark(line, LINE_PRICE_QUANTITY);
    }
    if (!shape_has(line, LINE_DISCOUNT)) {
        line->discount = 0;
        shape_mark(line, LINE_DISCOUNT);
    }
    int64_t gross;
    if (!decimal_mul_div(line->quantity, line->unit_price, line->price_quantity, ROUND_HALF_UP,
                         &gross) ||
        gross > MONEY_MAX) {
        measure(check, INT64_MAX);
        if (check->measuring)
            return;
        refuse(check, pointer_at(check, "lines", i, "unit_price"),
               "times the quantity is too large an amount");
        return;
    }
    if (line->discount > gross && !check->measuring) {
        refuse(check, pointer_at(check, "lines", i, "discount"),
               "is %lld, more than the line's %lld", (long long)line->discount, (long long)gross);
        return;
    }
    int64_t should = gross - line->discount;
    if (line->total == should)
        return;
    sum_add(check, &check->lines_off, size_of(line->total - should));
    measure(check, check->lines_off);
    if (!check->measuring)
        line_total_wrong(check, line, i, should);
}

static void taxes_sum(struct check *check, const struct shape_list *taxes, struct sums *sums) {
    sums->tax_lines += taxes->count;
    for (uint32_t i = 0; i < taxes->count; i++)
        sum_add(check, &sums->tax, list_at(*taxes, struct tax_line, i)->amount);
}

static void lines_check(struct check *check, struct sums *sums) {
    struct order *order = check->order;
    for (uint32_t i = 0; i < order->lines.count; i++) {
        struct order_line *line = list_at(order->lines, struct order_line, i);
        line_check(check, line, i);
        sum_add(check, &sums->lines, line->total);
        sum_add(check, &sums->discount, line->discount);
        taxes_sum(check, &line->taxes, sums);
    }
    for (uint32_t i = 0; i < order->shipping.count; i++) {
        struct shipping_line *line = list_at(order->shipping, struct shipping_line, i);
        sum_add(check, &sums->shipping, line->total);
        taxes_sum(check, &line->taxes, sums);
    }
}

/* --- tax of the whole document ---------------------------------------------------------- */
#define TAX_GROUPS_MAX 32 /* codes and rates of one order; with more, the lines' sum counts */
struct tax_group {
    struct str code;
    int64_t rate, base;
};

static bool tax_group_add(struct check *check, struct tax_group *groups, uint32_t *count,
                          const struct shape_list *taxes) {
    for (uint32_t i = 0; i < taxes->count; i++) {
        const struct tax_line *tax = list_at(*taxes, struct tax_line, i);
        if (!shape_has(tax, TAX_RATE) || !shape_has(tax, TAX_BASE))
            return false;
        uint32_t g = 0;
        while (g < *count && !(groups[g].rate == tax->rate && str_eq(groups[g].code, tax->code)))
            g++;
        if (g == TAX_GROUPS_MAX)
            return false;
        if (g == *count)
            groups[(*count)++] = (struct tax_group){.code = tax->code, .rate = tax->rate};
        sum_add(check, &groups[g].base, tax->base);
    }
    return true;
}

/* Tax rounded once per code and rate over the whole document; false where tax lines do not
 * give rate and base, and so nobody can tell. */
static bool tax_of_document(struct check *check, int64_t *tax) {
    struct order *order = check->order;
    struct tax_group groups[TAX_GROUPS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < order->lines.count; i++)
        if (!tax_group_add(check, groups, &count, &list_at(order->lines, struct order_line, i)->taxes))
            return false;
    for (uint32_t i = 0; i < order->shipping.count; i++)
        if (!tax_group_add(check, groups, &count,
                           &list_at(order->shipping, struct shipping_line, i)->taxes))
            return false;
    *tax = 0;
    for (uint32_t g = 0; g < count; g++) {
        int64_t amount;
        if (!decimal_mul_div(groups[g].base, groups[g].rate, RATE_ONE, ROUND_HALF_UP, &amount))
            return false;
        sum_add(check, tax, amount);
    }
    return true;
}

/* --- totals ---------------------------------------------------------------------------- */
/* A partial total, compared where it was stated. */
static void partial_check(struct check *check, uint32_t row, const char *name, int64_t stated,
                          int64_t should, const char *of) {
    struct order_totals *totals = check->order->totals;
    if (shape_has(totals, row) && stated != should) {
        measure(check, stated - should);
        if (check->measuring)
            return;
        char pointer[40];
        snprintf(pointer, sizeof pointer, "/totals/%s", name);
        refuse(check, str_c(pointer), "must be %lld (the sum of %s), not %lld: differs by %lld",
               (long long)should, of, (long long)stated, (long long)(stated - should));
    }
}

static int64_t grand_of(const struct order *order, const struct sums *sums) {
    return sums->lines + sums->shipping + (order->prices_include_tax ? 0 : sums->tax);
}

/* Settles sums->tax. Without any tax line a stated total stands, as nothing contradicts it. */
static void tax_settle(struct check *check, struct sums *sums) {
    struct order *order = check->order;
    struct order_totals *totals = order->totals;
    bool stated = shape_has(totals, TOTALS_TAX);
    if (sums->tax_lines == 0 && stated) {
        sums->tax = totals->tax;
        return;
    }
    int64_t of_document;
    if (order->tax_rounding != TAX_ROUNDING_DOCUMENT || !tax_of_document(check, &of_document))
        return;
    int64_t of_lines = sums->tax;
    sums->tax = of_document;
    if (stated && totals->tax == of_lines)
        sums->tax = of_lines;
    if (!stated && !order->prices_include_tax && grand_of(order, sums) != totals->grand) {
        sums->tax = of_lines; /* what the channel charged decides between the two */
        if (grand_of(order, sums) != totals->grand)
            sums->tax = of_document;
    }
}

static void grand_check(struct check *check, const struct sums *sums) {
    struct order *order = check->order;
    struct order_totals *totals = order->totals;
    int64_t rounding = shape_has(totals, TOTALS_ROUNDING) ? totals->rounding : 0;
    int64_t should = grand_of(order, sums) + rounding;
    if (totals->grand == should)
        return;
    measure(check, totals->grand - should);
    if (check->measuring)
        return;
    char tax[40] = "";
    if (!order->prices_include_tax)
        snprintf(tax, sizeof tax, " + tax %lld", (long long)sums->tax);
    refuse(check, STR("/totals/grand"),
           "must be %lld (lines %lld + shipping %lld%s + rounding %lld), not %lld: differs by %lld",
           (long long)should, (long long)sums->lines, (long long)sums->shipping, tax,
           (long long)rounding, (long long)totals->grand, (long long)(totals->grand - should));
}

static void sums_check(struct check *check, struct sums *sums) {
    struct order *order = check->order;
    struct order_totals *totals = order->totals;
    *sums = (struct sums){0};
    lines_check(check, sums);
    if (!shape_has(order, ORDER_SHIPPING) && shape_has(totals, TOTALS_SHIPPING))
        sums->shipping = totals->shipping; /* no shipping lines: the total stands for them */
    tax_settle(check, sums);
    int64_t most = INT64_MAX / 4;
    if (check->overflow || sums->lines > most || size_of(sums->tax) > most) {
        measure(check, INT64_MAX);
        if (check->measuring)
            return;
        refuse(check, STR("/totals"), "the sums are too large");
        return;
    }
    partial_check(check, TOTALS_LINES, "lines", totals->lines, sums->lines, "line totals");
    partial_check(check, TOTALS_DISCOUNT, "discount", totals->discount, sums->discount,
                  "line discounts");
    partial_check(check, TOTALS_SHIPPING, "shipping", totals->shipping, sums->shipping,
                  "shipping totals");
    partial_check(check, TOTALS_TAX, "tax", totals->tax, sums->tax, "taxes");
    grand_check(check, sums);
}

/* Everything has been found good, or close enough. */
static void totals_fill(struct order *order, const struct sums *sums) {
    struct order_totals *totals = order->totals;
    totals->lines = sums->lines;
    totals->discount = sums->discount;
    totals->shipping = sums->shipping;
    totals->tax = sums->tax;
    totals->rounding = totals->grand - grand_of(order, sums);
    for (uint32_t row = TOTALS_LINES; row <= TOTALS_GRAND; row++)
        shape_mark(totals, row);
}

enum err order_check(struct order *order, int64_t rounding_bound, struct arena *arena,
                     struct fault *fault) {
    struct check check = {.order = order, .arena = arena, .fault = fault};
    must(shape_has(order, ORDER_TOTALS) && order->totals && order->lines.count > 0);
    head_check(&check);
    all_ids_check(&check);
    struct sums sums;
    check.measuring = rounding_bound > 0;
    sums_check(&check, &sums);
    if (check.measuring && check.off > rounding_bound) {
        check.measuring = false;
        check.lines_off = 0;
        sums_check(&check, &sums);
    }
    if (check.nomem)
        return fault_set(fault, ERR_NOMEM, "out of memory checking an order");
    if (check.faults > 0)
        return ERR_INVALID;
    totals_fill(order, &sums);
    return OK;
}
