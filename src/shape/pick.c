/* pick: see pick.h. Holds no state.
 *
 * Passing over an object or a list: of 64 bytes at once, which are quotes, which brackets (a
 * vector of bytes compared, one bit each); bytes between an odd quote and the next are in a
 * string (the running exclusive-or of the quotes' bits); brackets that are not are counted. */
#include "shape/pick.h"

#include <string.h>

#define BLOCK 64

/* --- passing over ------------------------------------------------------------------------ */

typedef uint8_t bytes16 __attribute__((vector_size(16)));

#ifdef __SSE2__
#include <emmintrin.h>
static inline uint64_t bits16(bytes16 equal) {
    return (uint16_t)_mm_movemask_epi8((__m128i)equal);
}
#else
static inline uint64_t bits16(bytes16 equal) {
    uint64_t bits = 0;
    for (int i = 0; i < 16; i++)
        bits |= (uint64_t)(equal[i] & 1) << i;
    return bits;
}
#endif

struct block_bits {
    uint64_t quotes, backslashes, opens, closes;
};

static inline struct block_bits block_scan(const char *at) {
    struct block_bits bits = {0};
    for (unsigned i = 0; i < BLOCK; i += 16) {
        bytes16 b;
        memcpy(&b, at + i, sizeof b);
        bytes16 folded = b | 0x20; /* { and [ become one, } and ] too; nothing else does */
        bits.quotes |= bits16((bytes16)(b == '"')) << i;
        bits.backslashes |= bits16((bytes16)(b == '\\')) << i;
        bits.opens |= bits16((bytes16)(folded == '{')) << i;
        bits.closes |= bits16((bytes16)(folded == '}')) << i;
    }
    return bits;
}

/* Bit i: the exclusive-or of bits 0 to i. */
static inline uint64_t running_xor(uint64_t bits) {
    for (unsigned shift = 1; shift < 64; shift *= 2)
        bits ^= bits << shift;
    return bits;
}

/* Behind the bracket that closes the one at `at`; NULL where there is none, or an escape. */
static const char *container_end(const char *at, const char *end) {
    char last[BLOCK];
    uint64_t quoted = 0; /* all ones: the block begins inside a string */
    int64_t depth = 0;
    for (; at < end; at += BLOCK) {
        const char *from = at;
        if (end - at < BLOCK) {
            memset(last, ' ', sizeof last);
            memcpy(last, at, (size_t)(end - at));
            from = last;
        }
        struct block_bits bits = block_scan(from);
        uint64_t inside = running_xor(bits.quotes) ^ quoted;
        uint64_t opens = bits.opens & ~inside, closes = bits.closes & ~inside;
        if (bits.backslashes)
            return NULL;
        if (__builtin_popcountll(closes) < depth) { /* can not end in this block */
            depth += __builtin_popcountll(opens) - __builtin_popcountll(closes);
        } else {
            for (uint64_t left = opens | closes; left; left &= left - 1) {
                depth += opens & left & -left ? 1 : -1;
                if (depth == 0)
                    return at + __builtin_ctzll(left) + 1;
            }
        }
        quoted = (uint64_t)((int64_t)inside >> 63);
    }
    return NULL;
}

/* The closing quote of the string whose first byte is at `at`; NULL where there is none, or an
 * escape. */
static const char *string_end(const char *at, const char *end) {
    const char *quote = memchr(at, '"', (size_t)(end - at));
    if (!quote || memchr(at, '\\', (size_t)(quote - at)))
        return NULL;
    return quote;
}

static const char *scalar_end(const char *at, const char *end) {
    while (at < end && *at != ',' && *at != '}')
        at++;
    return at < end ? at : NULL;
}

static const char *value_pass(const char *at, const char *end) {
    if (at >= end)
        return NULL;
    if (*at == '{' || *at == '[')
        return container_end(at, end);
    if (*at != '"')
        return scalar_end(at, end);
    at = string_end(at + 1, end);
    return at ? at + 1 : NULL;
}

/* --- reading ----------------------------------------------------------------------------- */

static bool enum_read(const struct shape_field *field, struct str text, int32_t *out) {
    for (int32_t i = 0; field->values[i]; i++)
        if (str_is(text, field->values[i])) {
            *out = i;
            return true;
        }
    return false;
}

/* A value that is no object; behind it, or NULL. */
static const char *scalar_read(const struct shape_field *field, const char *at, const char *end,
                               void *member) {
    bool quoted = at < end && *at == '"';
    const char *stop = quoted ? string_end(at + 1, end) : scalar_end(at, end);
    if (!stop)
        return NULL;
    struct str text = quoted ? str_of(at + 1, (size_t)(stop - at - 1))
                             : str_of(at, (size_t)(stop - at));
    bool read = false;
    if (field->kind == SHAPE_MONEY || field->kind == SHAPE_INTEGER)
        read = !quoted && str_i64(text, member);
    else if (field->kind == SHAPE_ENUM)
        read = quoted && enum_read(field, text, member);
    else if (field->kind == SHAPE_BOOL)
        read = !quoted && ((*(bool *)member = str_is(text, "true")) || str_is(text, "false"));
    else if ((read = quoted))
        *(struct str *)member = text;
    return read ? stop + quoted : NULL;
}

/* The row, from `row` on, of the member whose name begins at *at; moves behind the colon. */
static uint32_t name_read(const struct shape *shape, uint32_t row, const char **at,
                          const char *end) {
    if (*at >= end || **at != '"')
        return shape->count;
    for (; row < shape->count; row++) {
        const char *name = shape->fields[row].name;
        size_t len = strlen(name);
        if ((size_t)(end - *at) > len + 3 && memcmp(*at + 1, name, len) == 0 &&
            (*at)[len + 1] == '"' && (*at)[len + 2] == ':') {
            *at += len + 3;
            break;
        }
    }
    return row;
}

/* Behind the object at `at`, or NULL. Unless it is needed `whole`, it is read up to the last
 * member wanted where all of these are there, and the answer only says that this went well. */
static const char *object_read(const struct shape_pick *pick, uint32_t node, const char *at,
                               const char *end, bool whole, struct arena *arena, void **out) {
    const struct shape_pick_node *n = &pick->nodes[node];
    uint64_t left = n->wanted;
    char *doc = arena_alloc(arena, n->shape->size);
    *out = doc;
    if (!doc || end - at < 2 || *at++ != '{')
        return NULL;
    if (*at == '}')
        return at + 1;
    for (uint32_t row = 0;; row++) {
        row = name_read(n->shape, row, &at, end);
        if (row == n->shape->count)
            return NULL;
        const struct shape_field *field = &n->shape->fields[row];
        uint64_t bit = UINT64_C(1) << row, wanted = n->wanted & bit;
        whole = whole || (left & (bit - 1)); /* not there, if they do not come out of order */
        left &= -bit & ~bit;
        if (!whole && !wanted && left == 0)
            return at;
        if (!wanted)
            at = value_pass(at, end);
        else if (field->kind == SHAPE_OBJECT)
            at = object_read(pick, n->object[row], at, end, whole || left != 0, arena,
                             (void **)(doc + field->offset));
        else
            at = scalar_read(field, at, end, doc + field->offset);
        *(uint64_t *)doc |= wanted;
        if (!at || (!whole && left == 0))
            return at;
        if (at >= end || (*at != ',' && *at != '}'))
            return NULL;
        if (*at++ == '}')
            return at;
    }
}

bool shape_pick_read(const struct shape_pick *pick, struct str json, struct arena *arena,
                     void **out) {
    if (json.len == 0)
        return false;
    return object_read(pick, 0, json.ptr, json.ptr + json.len, false, arena, out) != NULL;
}

/* --- making ------------------------------------------------------------------------------ */

static uint32_t row_find(const struct shape *shape, struct str name) {
    uint32_t row = 0;
    while (row < shape->count && !str_is(name, shape->fields[row].name))
        row++;
    must(row < shape->count);
    return row;
}

static uint32_t node_add(struct shape_pick *pick, const struct shape *shape) {
    must(pick->count < SHAPE_PICK_NODES);
    pick->nodes[pick->count] = (struct shape_pick_node){.shape = shape};
    return pick->count++;
}

void shape_pick_make(struct shape_pick *pick, const struct shape *shape,
                     const char *const *paths) {
    pick->count = 0;
    node_add(pick, shape);
    for (; *paths; paths++) {
        struct str rest = str_c(*paths);
        for (uint32_t node = 0; rest.len > 0;) {
            struct shape_pick_node *n = &pick->nodes[node];
            uint32_t row = row_find(n->shape, str_cut(&rest, '/'));
            const struct shape_field *field = &n->shape->fields[row];
            bool fresh = !(n->wanted >> row & 1);
            n->wanted |= UINT64_C(1) << row;
            must((field->kind == SHAPE_OBJECT) == (rest.len > 0));
            must(field->kind <= SHAPE_INTEGER || field->kind == SHAPE_ENUM ||
                 field->kind == SHAPE_BOOL || field->kind == SHAPE_OBJECT);
            if (field->kind != SHAPE_OBJECT)
                break;
            if (fresh)
                n->object[row] = (uint8_t)node_add(pick, field->shape);
            node = n->object[row];
        }
    }
}
