/* str: see str.h. */
#include "base/str.h"

#include <string.h>
#include <strings.h>

int str_cmp(struct str a, struct str b) {
    size_t least = a.len < b.len ? a.len : b.len;
    int order = least ? memcmp(a.ptr, b.ptr, least) : 0;
    if (order)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool str_eq_nocase(struct str a, struct str b) {
    return a.len == b.len && (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

struct str str_trim(struct str s) {
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

struct str str_cut(struct str *rest, char sep) {
    struct str all = *rest;
    const char *at = all.len ? memchr(all.ptr, sep, all.len) : NULL;
    if (!at) {
        *rest = STR_NONE;
        return all;
    }
    size_t len = (size_t)(at - all.ptr);
    *rest = str_of(at + 1, all.len - len - 1);
    return str_of(all.ptr, len);
}

bool str_u64(struct str s, uint64_t *out) {
    uint64_t value = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)((unsigned char)s.ptr[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, digit, &value))
            return false;
    }
    *out = value;
    return true;
}

bool str_i64(struct str s, int64_t *out) {
    bool negative = s.len && s.ptr[0] == '-';
    if (negative) {
        s.ptr++;
        s.len--;
    }
    uint64_t value;
    if (!str_u64(s, &value) || value > (uint64_t)INT64_MAX + negative)
        return false;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

bool str_eq_secret(struct str a, struct str b) {
    if (a.len != b.len)
        return false;
    volatile unsigned char diff = 0;
    for (size_t i = 0; i < a.len; i++)
        diff = (unsigned char)(diff | ((unsigned char)a.ptr[i] ^ (unsigned char)b.ptr[i]));
    return diff == 0;
}

struct str str_keep(char **at, struct str text) {
    struct str kept = str_of(*at, text.len);
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return kept;
}
