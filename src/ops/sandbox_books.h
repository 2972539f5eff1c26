/* sandbox_books: the books of the stand-in ERP: every order it has booked, in an append-only
 * file, one JSON object a line. An order that was acknowledged survives the end of the process
 * at any instruction (not the end of the machine: it is written, not synced).
 *
 * Nothing here prevents booking an order twice: to find that is what the books are for. */
#ifndef PENSTOCK_OPS_SANDBOX_BOOKS_H
#define PENSTOCK_OPS_SANDBOX_BOOKS_H

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

struct books;
#define BOOKS_ORDERS_MAX 50000000
#define BOOKS_NONE UINT32_MAX

struct booked {
    uint32_t number; /* 1, 2 …: "SO-000001" */
    struct str external_id, channel, channel_reference, currency;
    int64_t grand, tax; /* minor units */
    uint32_t lines;
    uint32_t earlier; /* index of the order booked before under the same external_id, BOOKS_NONE */
};

/* Reads the file, or makes it; a last line that is not whole is cut off: it was never
 * acknowledged. path NULL: in memory alone. ERR_IO, ERR_INVALID (not our file), ERR_NOMEM. */
enum err books_open(const char *path, struct books **out, struct fault *fault) WARN_UNUSED;
void books_close(struct books *books);

/* Books it and writes it; number and earlier are set here. *index: for books_at. */
enum err books_post(struct books *books, const struct booked *order, uint32_t *index,
                    struct fault *fault) WARN_UNUSED;
uint32_t books_count(const struct books *books);
const struct booked *books_at(const struct books *books, uint32_t index);
/* The newest order under this external id, or BOOKS_NONE. */
uint32_t books_find(const struct books *books, struct str external_id);
/* "SO-000042" → its index, or BOOKS_NONE. */
uint32_t books_number(const struct books *books, struct str number);

/* One order as the ERP shows it. */
void books_write(const struct booked *order, struct buf *out);
/* {"orders":N,"duplicates":N,"currencies":[…],"channels":[…]}: duplicates is the count of
 * external ids that were booked more than once; amounts as decimal text. */
void books_totals(const struct books *books, struct buf *out);

#endif
