/* str: a slice of bytes someone else owns. Not NUL-terminated. ptr NULL means absent,
 * which is not the same as empty. */
#ifndef PENSTOCK_BASE_STR_H
#define PENSTOCK_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
    const char *ptr;
    size_t len;
};

#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})
#define STR_NONE ((struct str){NULL, 0})
/* For printf("%.*s", STR_FMT(s)). */
#define STR_FMT(s) ((int)(s).len), ((s).ptr ? (s).ptr : "")

static inline struct str str_of(const char *ptr, size_t len) { return (struct str){ptr, len}; }
static inline struct str str_c(const char *cstr) {
    return cstr ? (struct str){cstr, strlen(cstr)} : STR_NONE;
}
static inline bool str_eq(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}
static inline bool str_is(struct str a, const char *cstr) { return str_eq(a, str_c(cstr)); }
static inline bool str_starts(struct str a, struct str prefix) {
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.ptr, prefix.ptr, prefix.len) == 0);
}
/* Byte order, shorter first: <0, 0, >0. */
int str_cmp(struct str a, struct str b);
/* Equal but for ASCII case. */
bool str_eq_nocase(struct str a, struct str b);
/* Without leading and trailing spaces and tabs. */
struct str str_trim(struct str s);
/* Copies the text to *at, which has room for it, moves *at behind it, and answers the copy. */
struct str str_keep(char **at, struct str text);
/* Cuts `*rest` at the first `sep`: returns what is before it, leaves what is after it.
 * With no sep left, returns all and makes *rest absent. */
struct str str_cut(struct str *rest, char sep);
/* Whole text as a base-10 number; false on anything else or overflow. */
bool str_i64(struct str s, int64_t *out);
bool str_u64(struct str s, uint64_t *out);
/* Compares in time that depends on the lengths alone (secrets). */
bool str_eq_secret(struct str a, struct str b);

#endif
