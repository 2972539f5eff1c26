/* sandbox_books: see sandbox_books.h. Owns the file, and in memory one record per order, found
 * by external id. Strings live in blocks that are never moved. */
#include "ops/sandbox_books.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/map.h"
#include "base/mem.h"
#include "retail/money.h"

#define TOTALS_MAX 4096 /* pairs of channel and currency */

struct total {
    struct str channel, currency;
    uint64_t orders;
    int64_t grand, tax;
};

struct books {
    int fd; /* -1: in memory alone */
    struct booked *orders;
    uint32_t count, cap;
    struct map map; /* external id → its newest order */
    struct arena strings;
    uint64_t duplicates;
    struct total totals[TOTALS_MAX];
    uint32_t total_count;
    struct buf line;
};

static bool order_eq(const void *ctx, uint32_t index, const void *key) {
    return str_eq(((const struct books *)ctx)->orders[index].external_id, *(const struct str *)key);
}

static uint64_t order_hash(const void *ctx, uint32_t index) {
    return hash64(((const struct books *)ctx)->orders[index].external_id, 0);
}

uint32_t books_find(const struct books *books, struct str external_id) {
    return map_find(&books->map, hash64(external_id, 0), order_eq, books, &external_id);
}

uint32_t books_count(const struct books *books) { return books->count; }

const struct booked *books_at(const struct books *books, uint32_t index) {
    must(index < books->count);
    return &books->orders[index];
}

uint32_t books_number(const struct books *books, struct str number) {
    uint64_t n;
    if (!str_starts(number, STR("SO-")) || !str_u64(str_of(number.ptr + 3, number.len - 3), &n))
        return BOOKS_NONE;
    return n >= 1 && n <= books->count ? (uint32_t)(n - 1) : BOOKS_NONE;
}

/* The total this order belongs to, new where it is the first; channels and currencies are few,
 * their texts are shared by all orders. */
static struct total *total_of(struct books *books, struct str channel, struct str currency) {
    for (uint32_t i = 0; i < books->total_count; i++)
        if (str_eq(books->totals[i].channel, channel) && str_eq(books->totals[i].currency, currency))
            return &books->totals[i];
    if (books->total_count == TOTALS_MAX)
        return NULL;
    struct total *total = &books->totals[books->total_count];
    total->channel = arena_str(&books->strings, channel.ptr ? channel : STR(""));
    total->currency = arena_str(&books->strings, currency);
    if (total->channel.ptr == NULL || total->currency.ptr == NULL)
        return NULL;
    books->total_count++;
    return total;
}

/* In memory; nothing changed where it fails. */
static enum err order_add(struct books *books, const struct booked *given, struct fault *fault) {
    if (books->count == BOOKS_ORDERS_MAX)
        return fault_set(fault, ERR_UNAVAILABLE, "the books are full");
    if (books->count == books->cap) {
        uint32_t cap = books->cap ? books->cap * 2 : 1024;
        struct booked *more = mem_resize(books->orders, (size_t)cap * sizeof *more);
        if (more == NULL)
            return fault_set(fault, ERR_NOMEM, "no memory for an order");
        books->orders = more;
        books->cap = cap;
    }
    struct total *total = total_of(books, given->channel, given->currency);
    uint64_t hash = hash64(given->external_id, 0);
    uint32_t earlier = books_find(books, given->external_id);
    struct booked *order = &books->orders[books->count];
    *order = *given;
    order->number = books->count + 1;
    order->earlier = earlier;
    order->external_id = earlier != BOOKS_NONE ? books->orders[earlier].external_id
                                               : arena_str(&books->strings, given->external_id);
    order->channel_reference = arena_str(&books->strings, given->channel_reference);
    if (total == NULL || order->external_id.ptr == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for an order");
    order->channel = total->channel;
    order->currency = total->currency;
    if (earlier != BOOKS_NONE)
        must(map_remove(&books->map, hash, earlier));
    if (!map_add(&books->map, hash, books->count, order_hash, books))
        return fault_set(fault, ERR_NOMEM, "no memory for an order");
    if (earlier != BOOKS_NONE && books->orders[earlier].earlier == BOOKS_NONE)
        books->duplicates++;
    total->orders++;
    total->grand += given->grand;
    total->tax += given->tax;
    books->count++;
    return OK;
}

/* --- the file ---------------------------------------------------------------------------- */

static void member_text(struct buf *out, const char *name, struct str text) {
    buf_printf(out, ",\"%s\":", name);
    if (text.ptr != NULL)
        buf_json_str(out, text);
    else
        buf_lit(out, "null");
}

static void line_write(const struct booked *order, struct buf *out) {
    buf_lit(out, "{\"external_id\":");
    buf_json_str(out, order->external_id);
    member_text(out, "channel", order->channel);
    member_text(out, "channel_reference", order->channel_reference);
    member_text(out, "currency", order->currency);
    buf_printf(out, ",\"grand\":%lld,\"tax\":%lld,\"lines\":%u}\n", (long long)order->grand,
               (long long)order->tax, order->lines);
}

static enum err line_read(struct books *books, struct json_parser *parser, struct arena *arena,
                          struct str line, struct fault *fault) {
    const struct json *doc;
    enum err err = json_parse(parser, arena, line, false, &doc, fault);
    int64_t lines;
    struct booked order = {0};
    if (err == OK && doc->kind == JSON_OBJECT) {
        const struct json *grand = json_member(doc, STR("grand"));
        const struct json *tax = json_member(doc, STR("tax"));
        const struct json *count = json_member(doc, STR("lines"));
        order.external_id = json_member_str(doc, STR("external_id"));
        order.channel = json_member_str(doc, STR("channel"));
        order.channel_reference = json_member_str(doc, STR("channel_reference"));
        order.currency = json_member_str(doc, STR("currency"));
        if (grand && tax && count && json_i64(grand, &order.grand) && json_i64(tax, &order.tax) &&
            json_i64(count, &lines) && order.external_id.ptr && order.currency.ptr) {
            order.lines = (uint32_t)lines;
            return order_add(books, &order, fault);
        }
    }
    return fault_set(fault, ERR_INVALID, "line %u of the books can not be read", books->count + 1);
}

static enum err lines_read(struct books *books, struct str text, size_t *whole,
                           struct fault *fault) {
    struct json_parser *parser = json_parser_create();
    struct arena arena;
    arena_init(&arena, 0);
    enum err err = parser ? OK : fault_set(fault, ERR_NOMEM, "no memory for a parser");
    *whole = 0;
    while (err == OK) {
        const char *end = memchr(text.ptr + *whole, '\n', text.len - *whole);
        if (end == NULL)
            break;
        size_t len = (size_t)(end - text.ptr) - *whole;
        err = line_read(books, parser, &arena, str_of(text.ptr + *whole, len), fault);
        *whole += len + 1;
        arena_reset(&arena);
    }
    arena_free(&arena);
    json_parser_destroy(parser);
    return err;
}

static enum err file_read(struct books *books, const char *path, struct fault *fault) {
    struct stat stat;
    books->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (books->fd < 0 || fstat(books->fd, &stat) != 0)
        return fault_set(fault, ERR_IO, "%.150s: %s", path, strerror(errno));
    if (stat.st_size == 0)
        return OK;
    size_t size = (size_t)stat.st_size, whole;
    void *text = mmap(NULL, size, PROT_READ, MAP_PRIVATE, books->fd, 0);
    if (text == MAP_FAILED)
        return fault_set(fault, ERR_IO, "%.150s: %s", path, strerror(errno));
    enum err err = lines_read(books, str_of(text, size), &whole, fault);
    munmap(text, size);
    if (err == OK && whole < size && ftruncate(books->fd, (off_t)whole) != 0)
        err = fault_set(fault, ERR_IO, "%.150s: %s", path, strerror(errno));
    return err;
}

enum err books_open(const char *path, struct books **out, struct fault *fault) {
    struct books *books = mem_zalloc(sizeof *books);
    if (books == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for the books");
    books->fd = -1;
    map_init(&books->map);
    arena_init(&books->strings, SIZE_MAX / 2);
    buf_init(&books->line, 65536);
    enum err err = path != NULL ? file_read(books, path, fault) : OK;
    if (err != OK) {
        books_close(books);
        return err;
    }
    *out = books;
    return OK;
}

void books_close(struct books *books) {
    if (books == NULL)
        return;
    if (books->fd >= 0)
        close(books->fd);
    map_free(&books->map);
    arena_free(&books->strings);
    buf_free(&books->line);
    mem_free(books->orders);
    mem_free(books);
}

enum err books_post(struct books *books, const struct booked *order, uint32_t *index,
                    struct fault *fault) {
    if (books->fd >= 0) {
        buf_clear(&books->line);
        line_write(order, &books->line);
        if (!buf_ok(&books->line))
            return fault_set(fault, ERR_NOMEM, "no memory for a line of the books");
        ssize_t n = write(books->fd, books->line.data, books->line.len);
        if (n != (ssize_t)books->line.len) {
            /* part of a line must not stay: the next one would be glued to it */
            off_t end = lseek(books->fd, 0, SEEK_END);
            if (n > 0 && end >= n && ftruncate(books->fd, end - n) != 0)
                return fault_set(fault, ERR_IO, "the books are damaged: %s", strerror(errno));
            return fault_set(fault, ERR_IO, "the books can not be written: %s", strerror(errno));
        }
    }
    enum err err = order_add(books, order, fault);
    if (err == OK)
        *index = books->count - 1;
    return err;
}

/* --- showing ----------------------------------------------------------------------------- */

static void member_money(struct buf *out, const char *name, int64_t minor, struct str currency) {
    buf_printf(out, ",\"%s\":\"", name);
    money_write(out, minor, currency);
    buf_char(out, '"');
}

void books_write(const struct booked *order, struct buf *out) {
    buf_printf(out, "{\"number\":\"SO-%06u\",\"external_id\":", order->number);
    buf_json_str(out, order->external_id);
    member_text(out, "channel", order->channel);
    member_text(out, "channel_reference", order->channel_reference);
    member_text(out, "currency", order->currency);
    member_money(out, "grand", order->grand, order->currency);
    member_money(out, "tax", order->tax, order->currency);
    buf_printf(out, ",\"lines\":%u,\"state\":\"booked\"}", order->lines);
}

static void total_write(const struct total *total, bool channel, bool first, struct buf *out) {
    if (!first)
        buf_char(out, ',');
    buf_lit(out, "{\"currency\":");
    buf_json_str(out, total->currency);
    if (channel)
        member_text(out, "channel", total->channel);
    buf_printf(out, ",\"orders\":%llu", (unsigned long long)total->orders);
    member_money(out, "grand", total->grand, total->currency);
    member_money(out, "tax", total->tax, total->currency);
    buf_char(out, '}');
}

void books_totals(const struct books *books, struct buf *out) {
    buf_printf(out, "{\"orders\":%u,\"duplicates\":%llu,\"currencies\":[", books->count,
               (unsigned long long)books->duplicates);
    bool first = true;
    for (uint32_t i = 0; i < books->total_count; i++) {
        struct total sum = {.currency = books->totals[i].currency};
        bool seen = false;
        for (uint32_t k = 0; k < books->total_count; k++) {
            const struct total *total = &books->totals[k];
            if (!str_eq(total->currency, sum.currency))
                continue;
            seen = seen || k < i;
            sum.orders += total->orders;
            sum.grand += total->grand;
            sum.tax += total->tax;
        }
        if (seen)
            continue;
        total_write(&sum, false, first, out);
        first = false;
    }
    buf_lit(out, "],\"channels\":[");
    for (uint32_t i = 0; i < books->total_count; i++)
        total_write(&books->totals[i], true, i == 0, out);
    buf_lit(out, "]}");
}
