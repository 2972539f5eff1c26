/* cursor: where a page of a list ended, as text that callers hand back: the values of the sort
 * column and of the key in the last row, bound to the query it came from by a checksum. It
 * tells nothing that the page did not; a changed one, or one of another list, is refused. */
#ifndef PENSTOCK_STORE_CURSOR_H
#define PENSTOCK_STORE_CURSOR_H

#include "core/rows.h"

#define CURSOR_VALUES_MAX 65 /* a sort column and a key of all columns */
#define CURSOR_TEXT_MAX 8192

/* What the cursor is bound to: table, sort and filters, not the limit. */
uint64_t cursor_bond(const struct row_query *query);
/* kinds[i] tells which member of values[i] counts. base64url; absent when memory is out. */
struct str cursor_write(uint64_t bond, const struct row_value *values,
                        const enum column_kind *kinds, uint32_t n, struct arena *arena);
/* ERR_INVALID where text is none of cursor_write with the same bond and kinds. Strings lie in
 * the arena. */
enum err cursor_read(struct str text, uint64_t bond, const enum column_kind *kinds, uint32_t n,
                     struct row_value *values, struct arena *arena, struct fault *fault)
    WARN_UNUSED;

#endif
