/* Errors: one enum for the whole program, and the fault that carries the details.
 *
 * A fallible function returns enum err (OK is 0) and puts what a person needs to know
 * into a struct fault. errors.def is the one list of errors. */
#ifndef PENSTOCK_BASE_ERR_H
#define PENSTOCK_BASE_ERR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

#define WARN_UNUSED __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

enum err {
    OK = 0,
#define ERROR(symbol, slug, status, disposition, title) symbol,
#include "base/errors.def"
#undef ERROR
    ERR_COUNT
};

enum disposition { FINAL, RETRYABLE };

/* What errors.def says of an error. Never NULL; OK answers a row with status 200. */
struct err_info {
    const char *slug;
    int status;
    enum disposition disposition;
    const char *title;
};
const struct err_info *err_info(enum err err);

/* One fault of a document: where (JSON Pointer, RFC 6901) and what. */
struct fault_item {
    struct fault_item *next;
    struct str pointer;
    struct str detail;
};

/* The details of a failure. Zero-initialise, or fault_init with an arena where single
 * faults are to be listed; without an arena only `detail` is kept. Lists at most
 * FAULT_ITEMS_MAX items and counts the rest. */
#define FAULT_ITEMS_MAX 100
struct fault {
    enum err err;
    char detail[256];
    struct arena *arena;
    struct fault_item *first, *last;
    uint32_t count; /* of all items, listed or not */
};

void fault_init(struct fault *fault, struct arena *arena);

/* Sets error and detail (printf-like), returns err: `return fault_set(f, ERR_X, "…")`.
 * fault may be NULL. */
enum err fault_set(struct fault *fault, enum err err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Adds one item and sets fault->err to ERR_INVALID if it was OK. */
void fault_add(struct fault *fault, struct str pointer, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A broken invariant of ours: prints and aborts, in release builds too. */
#define must(cond) ((cond) ? (void)0 : must_failed(#cond, __FILE__, __LINE__))
_Noreturn void must_failed(const char *cond, const char *file, int line);

#endif
