/* csv: records of delimiter-separated text (RFC 4180) and of fixed-width text, taken one after the
 * other from a window of bytes. Pure; keeps nothing.
 *
 * Beyond RFC 4180: any delimiter and quote, LF alone ends a record, a quote within an unquoted field is
 * a character like others, empty lines are passed over. A record that is wrong is told as such, with
 * its column, and ends with its line, so that the next one can be read. */
#ifndef PENSTOCK_CONNECT_CSV_H
#define PENSTOCK_CONNECT_CSV_H

#include "base/arena.h"
#include "base/str.h"

enum csv_encoding { CSV_UTF8, CSV_LATIN1, CSV_WINDOWS1252 };
struct csv_dialect {
    char delimiter, quote; /* quote '\0': there is none */
    enum csv_encoding encoding;
    bool trim;             /* blanks at the ends of unquoted fields */
    const uint32_t *widths; /* of fixed-width columns, in characters; NULL: delimited */
    uint32_t width_count;
};

#define CSV_FIELDS_MAX 512
struct csv_record {
    struct str *fields; /* UTF-8, in the arena */
    uint32_t count;
    size_t bytes;       /* of the window that it took, with its line end */
    uint32_t lines;     /* likewise, line ends */
    const char *problem; /* NULL: none; else fields are those before it */
    uint32_t column;     /* from 1: where it is */
};
enum csv_result {
    CSV_RECORD,
    CSV_EMPTY, /* an empty line: bytes and lines are set */
    CSV_MORE,  /* the window ends within the record */
    CSV_END,   /* the window is empty */
    CSV_NOMEM,
};
/* The record at the beginning of the window. `final`: nothing comes behind the window. A window of
 * window_max bytes or more that does not hold the whole record makes it a wrong one. */
enum csv_result csv_next(const struct csv_dialect *dialect, struct str window, bool final,
                         size_t window_max, struct arena *arena, struct csv_record *out);

/* `text` as UTF-8; absent where it is not what it is said to be. */
struct str csv_decode(enum csv_encoding encoding, struct str text, struct arena *arena, bool *nomem);
/* "1.234,50" with decimal ',' as "1234.50"; absent where it is no number. Empty stays empty. The other
 * of point and comma, blanks and apostrophes may group digits before the decimal mark. */
struct str csv_decimal(struct str text, char decimal, struct arena *arena);

#endif
