/* cursor: see cursor.h. Pure. Layout before base64url (RFC 4648, without padding): 8 bytes of
 * checksum, then per value a tag ('n' NULL, 'i' 8 bytes, 't' 2 bytes of length and the text). */
#include "store/cursor.h"

#include "base/hash.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static uint64_t value_hash(const struct row_filter *filter, uint64_t seed) {
    const struct row_value *v = &filter->value;
    uint64_t hash = hash64(v->text, seed + (v->text.ptr != NULL));
    return hash64(str_of((const char *)&v->integer, sizeof v->integer), hash);
}

uint64_t cursor_bond(const struct row_query *query) {
    uint64_t bond = hash64(str_c(query->table->name), query->sort_column);
    for (uint32_t i = 0; i < query->filter_count; i++) {
        const struct row_filter *filter = &query->filters[i];
        bond = value_hash(filter, bond + filter->column * 8 + (uint64_t)filter->op);
    }
    return bond;
}

static void le_put(char *out, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++)
        out[i] = (char)(value >> (8 * i));
}
static uint64_t le_get(const char *in, int bytes) {
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value |= (uint64_t)(unsigned char)in[i] << (8 * i);
    return value;
}

static struct str base64url(struct str bytes, struct arena *arena) {
    size_t len = (bytes.len * 4 + 2) / 3, at = 0;
    char *out = arena_bytes(arena, len + 1);
    if (!out)
        return STR_NONE;
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; i < bytes.len; i++) {
        bits = bits << 8 | (unsigned char)bytes.ptr[i];
        for (have += 8; have >= 6; have -= 6)
            out[at++] = digits[bits >> (have - 6) & 63];
    }
    if (have > 0)
        out[at++] = digits[bits << (6 - have) & 63];
    must(at == len);
    return str_of(out, len);
}

static struct str base64url_read(struct str text, struct arena *arena) {
    char *out = arena_bytes(arena, text.len + 1);
    size_t at = 0;
    uint32_t bits = 0, have = 0;
    for (size_t i = 0; out && i < text.len; i++) {
        const char *digit = text.ptr[i] ? strchr(digits, text.ptr[i]) : NULL;
        if (!digit)
            return STR_NONE;
        bits = bits << 6 | (uint32_t)(digit - digits);
        have += 6;
        if (have >= 8) {
            have -= 8;
            out[at++] = (char)(bits >> have & 255);
        }
    }
    bool whole = have < 6 && (bits & ((1u << have) - 1)) == 0; /* one text per cursor */
    return out && whole ? str_of(out, at) : STR_NONE;
}

struct str cursor_write(uint64_t bond, const struct row_value *values,
                        const enum column_kind *kinds, uint32_t n, struct arena *arena) {
    size_t room = 8;
    for (uint32_t i = 0; i < n; i++)
        room += 9 + (kinds[i] == COLUMN_TEXT ? values[i].text.len : 0);
    char *bytes = arena_bytes(arena, room);
    if (!bytes)
        return STR_NONE;
    size_t at = 8;
    for (uint32_t i = 0; i < n; i++) {
        struct str text = values[i].text;
        if (kinds[i] == COLUMN_INTEGER) {
            bytes[at] = 'i';
            le_put(bytes + at + 1, (uint64_t)values[i].integer, 8);
            at += 9;
        } else if (!text.ptr) {
            bytes[at++] = 'n';
        } else {
            must(text.len <= UINT16_MAX);
            bytes[at] = 't';
            le_put(bytes + at + 1, text.len, 2);
            if (text.len)
                memcpy(bytes + at + 3, text.ptr, text.len);
            at += 3 + text.len;
        }
    }
    le_put(bytes, hash64(str_of(bytes + 8, at - 8), bond), 8);
    return base64url(str_of(bytes, at), arena);
}

/* Reads one value at bytes; how many bytes it took, 0 where it is none. */
static size_t value_read(struct str bytes, enum column_kind kind, struct row_value *out) {
    char tag = bytes.len ? bytes.ptr[0] : 0;
    *out = (struct row_value){0};
    if (kind == COLUMN_INTEGER && tag == 'i' && bytes.len >= 9) {
        out->integer = (int64_t)le_get(bytes.ptr + 1, 8);
        return 9;
    }
    if (kind != COLUMN_TEXT)
        return 0;
    if (tag == 'n')
        return 1;
    if (tag != 't' || bytes.len < 3)
        return 0;
    size_t len = le_get(bytes.ptr + 1, 2);
    if (bytes.len < 3 + len)
        return 0;
    out->text = str_of(bytes.ptr + 3, len);
    return 3 + len;
}

enum err cursor_read(struct str text, uint64_t bond, const enum column_kind *kinds, uint32_t n,
                     struct row_value *values, struct arena *arena, struct fault *fault) {
    struct str bytes = text.len <= CURSOR_TEXT_MAX ? base64url_read(text, arena) : STR_NONE;
    bool good = bytes.len >= 8;
    if (good)
        good = le_get(bytes.ptr, 8) == hash64(str_of(bytes.ptr + 8, bytes.len - 8), bond);
    size_t at = 8;
    for (uint32_t i = 0; good && i < n; i++) {
        size_t took = value_read(str_of(bytes.ptr + at, bytes.len - at), kinds[i], &values[i]);
        good = took > 0;
        at += took;
    }
    if (good && at == bytes.len)
        return OK;
    return fault_set(fault, ERR_INVALID,
                     "the cursor is not one that this list has given with these parameters");
}
