/* demo_books: at the end of the day: what the shops sold, what the hub has, what the ERP has
 * booked, order by order. Asks both over their APIs for everything they have. */
#include "cli/demo_priv.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "retail/money.h"

#define PAGES_MAX 10000
#define NAMES_SHOWN 5

struct books_row {
    const struct demo_sale *sale;
    uint32_t in_hub, in_erp;
    int64_t hub_total, erp_total;
};
struct books_sum {
    const char *channel;
    uint64_t sold, hub, erp;
    int64_t sold_total, hub_total, erp_total;
};
struct books {
    struct demo *demo;
    struct arena arena;
    struct books_row *rows; /* by channel and number */
    uint32_t count;
    struct books_sum sums[DEMO_SHOPS];
    uint32_t strange; /* in hub or ERP, sold by nobody */
    uint32_t lost, doubled, differ;
    char names[NAMES_SHOWN][64]; /* of the first that are wrong */
    uint32_t named;
};

static int sale_cmp(const struct demo_sale *a, const char *channel, struct str number) {
    int order = strcmp(a->channel, channel);
    return order ? order : str_cmp(str_c(a->number), number);
}

static int row_cmp(const void *a, const void *b) {
    const struct books_row *x = a, *y = b;
    return sale_cmp(x->sale, y->sale->channel, str_c(y->sale->number));
}

static struct books_sum *sum_of(struct books *books, struct str channel) {
    for (uint32_t i = 0; i < DEMO_SHOPS; i++)
        if (str_is(channel, books->sums[i].channel))
            return &books->sums[i];
    return NULL;
}

static struct books_row *row_of(struct books *books, struct str channel, struct str number) {
    const struct books_sum *sum = sum_of(books, channel);
    uint32_t low = 0, high = sum ? books->count : 0;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = sale_cmp(books->rows[middle].sale, sum->channel, number);
        if (order == 0)
            return &books->rows[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static enum err sold_take(struct books *books, struct fault *fault) {
    struct demo *demo = books->demo;
    for (uint32_t i = 0; i < DEMO_SHOPS; i++) {
        books->sums[i].channel = demo->shops[i].channel;
        books->count += demo->shops[i].count;
    }
    books->rows = mem_zalloc((books->count + 1) * sizeof *books->rows);
    if (!books->rows)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    uint32_t at = 0;
    for (uint32_t i = 0; i < DEMO_SHOPS; i++)
        for (uint32_t k = 0; k < demo->shops[i].count; k++) {
            struct books_row *row = &books->rows[at++];
            row->sale = &demo->shops[i].sales[k];
            if (!row->sale->done)
                continue;
            struct books_sum *sum = sum_of(books, str_c(row->sale->channel));
            sum->sold++;
            sum->sold_total += row->sale->grand;
        }
    qsort(books->rows, books->count, sizeof *books->rows, row_cmp);
    return OK;
}

/* --- reading both sides ----------------------------------------------------------------- */

static bool hub_item(struct books *books, const struct json *item) {
    const struct json *totals = json_member(item, STR("totals"));
    const struct json *grand = totals ? json_member(totals, STR("grand")) : NULL;
    struct str channel = json_member_str(item, STR("channel"));
    struct books_row *row = row_of(books, channel, json_member_str(item, STR("channel_order_id")));
    int64_t amount;
    if (!grand || !json_i64(grand, &amount))
        return false;
    if (!row) {
        books->strange++;
        return true;
    }
    row->in_hub++;
    row->hub_total += amount;
    struct books_sum *sum = sum_of(books, channel);
    sum->hub++;
    sum->hub_total += amount;
    return true;
}

static bool erp_item(void *ctx, const struct demo_booking *booking) {
    struct books *books = ctx;
    struct books_row *row = row_of(books, booking->channel, booking->number);
    int64_t amount;
    if (!money_parse(booking->grand, booking->currency, &amount))
        return false;
    if (!row) {
        books->strange++;
        return true;
    }
    row->in_erp++;
    row->erp_total += amount;
    struct books_sum *sum = sum_of(books, booking->channel);
    sum->erp++;
    sum->erp_total += amount;
    return true;
}

static enum err hub_read(struct books *books, struct fault *fault) {
    struct demo *demo = books->demo;
    struct buf url;
    enum err err = OK;
    bool more = true;
    buf_init(&url, 0);
    buf_lit(&url, "/v1/orders?limit=1000");
    for (uint32_t page = 0; err == OK && more && page < PAGES_MAX; page++) {
        struct client_answer answer;
        arena_reset(&books->arena);
        err = client_get(demo->client, buf_cstr(&url), &books->arena, &answer, fault);
        if (err != OK)
            break;
        const struct json *items = json_member(answer.json, STR("items"));
        const struct json *item = items && items->kind == JSON_ARRAY ? json_first(items) : NULL;
        for (uint32_t i = 0; err == OK && item && i < items->count; i++, item = json_next(item))
            if (!hub_item(books, item))
                err = fault_set(fault, ERR_UPSTREAM, "the hub answers an order that can not be read");
        const struct json *at = json_member(answer.json, STR("next_cursor"));
        more = at && at->kind != JSON_NULL;
        if (!more)
            break;
        buf_clear(&url);
        buf_lit(&url, "/v1/orders?limit=1000&cursor=");
        client_encode(&url, at->text);
    }
    buf_free(&url);
    return err;
}

/* --- judging ---------------------------------------------------------------------------- */

static void wrong(struct books *books, const struct books_row *row, const char *what) {
    if (books->named < NAMES_SHOWN)
        snprintf(books->names[books->named++], sizeof books->names[0], "%s %s: %s",
                 row->sale->channel, row->sale->number, what);
}

static void rows_judge(struct books *books) {
    for (uint32_t i = 0; i < books->count; i++) {
        const struct books_row *row = &books->rows[i];
        if (row->in_hub > 1 || row->in_erp > 1) {
            books->doubled++;
            wrong(books, row, row->in_hub > 1 ? "twice in the hub" : "twice in the ERP");
        } else if (row->in_hub != row->in_erp || (row->sale->done && row->in_hub == 0)) {
            books->lost++;
            wrong(books, row, row->in_hub == 0 ? "not in the hub" : "not in the ERP");
        } else if (row->in_hub == 1 && (row->hub_total != row->sale->grand ||
                                        row->erp_total != row->sale->grand)) {
            books->differ++;
            wrong(books, row, "another amount");
        }
    }
}

static void amount_print(FILE *out, int64_t minor) {
    struct buf text;
    buf_init(&text, 0);
    money_write(&text, minor, STR("EUR"));
    fprintf(out, "%14s", buf_cstr(&text));
    buf_free(&text);
}

static void sum_print(FILE *out, const struct books_sum *s) {
    fprintf(out, "%-9s %7" PRIu64, s->channel, s->sold);
    amount_print(out, s->sold_total);
    fprintf(out, " %7" PRIu64, s->hub);
    amount_print(out, s->hub_total);
    fprintf(out, " %7" PRIu64, s->erp);
    amount_print(out, s->erp_total);
    amount_print(out, s->erp_total - s->hub_total);
    fputc('\n', out);
}

static void table_print(const struct books *books) {
    FILE *out = books->demo->tell;
    struct books_sum all = {.channel = "together"};
    fprintf(out, "\n%-9s %21s %21s %21s %13s\n%-9s %7s %13s %7s %13s %7s %13s %13s\n", "",
            "sold by the shops", "in the hub", "in the ERP", "difference", "channel", "orders",
            "EUR", "orders", "EUR", "orders", "EUR", "EUR");
    for (uint32_t i = 0; i < DEMO_SHOPS; i++) {
        const struct books_sum *s = &books->sums[i];
        sum_print(out, s);
        all.sold += s->sold;
        all.hub += s->hub;
        all.erp += s->erp;
        all.sold_total += s->sold_total;
        all.hub_total += s->hub_total;
        all.erp_total += s->erp_total;
    }
    sum_print(out, &all);
    fprintf(out, "\ncompared order by order: %u lost, %u doubled, %u with another amount, %u that "
                 "nobody sold\n",
            books->lost, books->doubled, books->differ, books->strange);
    for (uint32_t i = 0; i < books->named; i++)
        fprintf(out, "    %s\n", books->names[i]);
}

static void json_print(const struct books *books, bool agree, struct buf *out) {
    buf_printf(out, "{\"agree\":%s,\"lost\":%u,\"doubled\":%u,\"differ\":%u,\"strange\":%u,"
                    "\"channels\":[",
               agree ? "true" : "false", books->lost, books->doubled, books->differ,
               books->strange);
    for (uint32_t i = 0; i < DEMO_SHOPS; i++) {
        const struct books_sum *s = &books->sums[i];
        buf_printf(out, "%s{\"channel\":\"%s\",\"currency\":\"EUR\",\"sold\":{\"orders\":%" PRIu64
                        ",\"grand\":%" PRId64 "},\"hub\":{\"orders\":%" PRIu64 ",\"grand\":%" PRId64
                        "},\"erp\":{\"orders\":%" PRIu64 ",\"grand\":%" PRId64 "}}",
                   i > 0 ? "," : "", s->channel, s->sold, s->sold_total, s->hub, s->hub_total,
                   s->erp, s->erp_total);
    }
    buf_lit(out, "]}");
}

enum err demo_books_compare(struct demo *demo, struct buf *json, bool *agree,
                            struct fault *fault) {
    struct books *books = mem_zalloc(sizeof *books);
    if (!books)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    books->demo = demo;
    arena_init(&books->arena, (size_t)1 << 30);
    enum err err = sold_take(books, fault);
    if (err == OK)
        err = hub_read(books, fault);
    if (err == OK)
        err = demo->erp_kind->books(demo, &books->arena, erp_item, books, fault);
    if (err == OK) {
        rows_judge(books);
        table_print(books);
        *agree = books->lost + books->doubled + books->differ + books->strange == 0;
        json_print(books, *agree, json);
    }
    mem_free(books->rows);
    arena_free(&books->arena);
    mem_free(books);
    return err;
}
