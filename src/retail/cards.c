/* cards: see cards.h. */
#include "retail/cards.h"

#include "base/pan.h"
#include "retail/gtin.h"

enum policy {
    POLICY_ANY,
    POLICY_ARTICLE,
    POLICY_PHONE,
    POLICY_ID,
};

/* --- what a name says ---------------------------------------------------------------------- */

/* Names, or their last words ("mobile_phone", "variant_barcode", "orderNumber"). Words that may
 * be a card's (number, account, reference, code) are left out on purpose. */
static const struct {
    const char *word;
    enum policy policy;
} words[] = {
    {"gtin", POLICY_ARTICLE},      {"ean", POLICY_ARTICLE},      {"ean13", POLICY_ARTICLE},
    {"upc", POLICY_ARTICLE},       {"barcode", POLICY_ARTICLE},  {"isbn", POLICY_ARTICLE},
    {"sku", POLICY_ID},            {"id", POLICY_ID},            {"ids", POLICY_ID},
    {"uuid", POLICY_ID},           {"gid", POLICY_ID},           {"imei", POLICY_ID},
    {"tracking", POLICY_ID},       {"trackingnumber", POLICY_ID}, {"trackingnumbers", POLICY_ID},
    {"ordernumber", POLICY_ID},    {"invoicenumber", POLICY_ID}, {"serialnumber", POLICY_ID},
    {"pspreference", POLICY_ID},   {"originalreference", POLICY_ID},
    {"phone", POLICY_PHONE},       {"phonenumber", POLICY_PHONE}, {"mobile", POLICY_PHONE},
    {"telephone", POLICY_PHONE},   {"fax", POLICY_PHONE},
};

#define NAME_MAX 64

/* The name in lower case without separators; `starts` has a bit where a word begins, in any of the
 * usual ways to write one: order_id, order-id, orderId, orderID. */
static size_t name_fold(struct str name, char out[NAME_MAX], uint64_t *starts) {
    size_t len = 0;
    bool begins = true, lower = false;
    *starts = 0;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool upper = c >= 'A' && c <= 'Z';
        if (c == '_' || c == '-' || c == '.' || c == ' ') {
            begins = true;
            continue;
        }
        if (len == NAME_MAX)
            return 0; /* no name that we know */
        if (begins || (upper && lower))
            *starts |= UINT64_C(1) << len;
        out[len++] = upper ? (char)(c + 32) : c;
        begins = false;
        lower = !upper;
    }
    return len;
}

static enum policy policy_of(struct str name) {
    char folded[NAME_MAX];
    uint64_t starts;
    size_t len = name.ptr ? name_fold(name, folded, &starts) : 0;
    if (len == 0 || memmem(folded, len, "card", 4))
        return POLICY_ANY;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (n <= len && memcmp(folded + len - n, words[i].word, n) == 0 && starts >> (len - n) & 1)
            return words[i].policy;
    }
    return POLICY_ANY;
}

/* The digits of a place alone. */
static struct str digits_of(struct str text, const struct pan_place *place, char out[PAN_DIGITS_MAX]) {
    size_t len = 0;
    for (size_t i = 0; i < place->len && len < PAN_DIGITS_MAX; i++)
        if (text.ptr[place->at + i] >= '0' && text.ptr[place->at + i] <= '9')
            out[len++] = text.ptr[place->at + i];
    return str_of(out, len);
}

/* Whether what looks like a card number counts as one. */
static bool counts(struct str text, const struct pan_place *place, enum policy policy, bool strict) {
    char digits[PAN_DIGITS_MAX], gtin[14];
    bool article = (place->digits == 13 || place->digits == 14) && !place->grouped &&
                   gtin_normalise(digits_of(text, place, digits), gtin);
    switch (policy) {
    case POLICY_ANY: return true;
    case POLICY_ARTICLE: return !article;
    case POLICY_PHONE: return place->digits > 15;
    case POLICY_ID: return !article && (strict || place->grouped);
    }
    return true;
}

/* `name` is that of the member, absent where there is none. */
static bool next_that_counts(struct str text, size_t from, struct str name, bool strict,
                             struct pan_place *place) {
    for (; pan_next(text, from, place); from = place->at + place->len)
        if (counts(text, place, policy_of(name), strict))
            return true;
    return false;
}

bool cards_in_id(struct str id, bool strict) {
    struct pan_place place;
    return next_that_counts(id, 0, STR("id"), strict, &place);
}

/* --- the walk ---------------------------------------------------------------------------------- */

struct spot {
    const struct spot *up;
    struct str name; /* of a member; absent: an element */
    uint32_t index;
};

struct walk {
    bool strict, nomem;
    struct str seen; /* a text that was looked at: what lies in it needs no second look */
    struct arena *arena; /* NULL: only looks */
    struct fault *fault; /* may be NULL */
    struct buf *told;    /* may be NULL */
    uint32_t count;
};

/* RFC 6901. A name that is a card number itself is shown masked. */
static void pointer_write(struct buf *out, const struct spot *spot) {
    if (!spot->up)
        return;
    pointer_write(out, spot->up);
    buf_char(out, '/');
    if (!spot->name.ptr) {
        buf_u64(out, spot->index);
        return;
    }
    for (size_t i = 0; i < spot->name.len && i < 128; i++) {
        if (spot->name.ptr[i] == '~')
            buf_lit(out, "~0");
        else if (spot->name.ptr[i] == '/')
            buf_lit(out, "~1");
        else
            buf_char(out, spot->name.ptr[i]);
    }
}

static void note(struct walk *walk, const struct spot *spot) {
    struct buf pointer;
    if (walk->count++ >= FAULT_ITEMS_MAX) { /* where is told of so many; the others are counted */
        fault_add(walk->fault, STR(""), "%s", "");
        return;
    }
    buf_init(&pointer, 65536);
    pointer_write(&pointer, spot);
    pan_mask(pointer.data, pointer.len);
    fault_add(walk->fault, buf_str(&pointer),
              "holds what looks like a payment card number: card data is not taken");
    if (walk->told && walk->told->len + pointer.len + 2 < CARDS_TOLD_BYTES) {
        if (walk->told->len)
            buf_lit(walk->told, ", ");
        buf_str_add(walk->told, pointer.len ? buf_str(&pointer) : STR("the document"));
    }
    buf_free(&pointer);
}

/* One text: noted once, masked in all its places. `node` is the walk's own where it masks. */
static void look(struct walk *walk, const struct spot *spot, struct json *node, struct str name) {
    struct pan_place place;
    struct str text = node->text;
    if (text.len < PAN_DIGITS_MIN || (uintptr_t)text.ptr - (uintptr_t)walk->seen.ptr < walk->seen.len ||
        !next_that_counts(text, 0, name, walk->strict, &place))
        return;
    note(walk, spot);
    if (!walk->arena)
        return;
    struct str copy = arena_str(walk->arena, text);
    if (!copy.ptr) {
        walk->nomem = true;
        return;
    }
    char *bytes = (char *)(uintptr_t)copy.ptr;
    do
        pan_mask_at(bytes, &place, node->kind == JSON_NUMBER);
    while (next_that_counts(copy, pan_again(&place), name, walk->strict, &place));
    node->text = copy;
}

/* `name` is that of the member that the value is, or is an element of. */
static void walk_value(struct walk *walk, const struct spot *spot, struct json *value,
                       struct str name) {
    bool object = value->kind == JSON_OBJECT;
    if (value->kind == JSON_STRING || value->kind == JSON_NUMBER)
        look(walk, spot, value, name);
    if (!object && value->kind != JSON_ARRAY)
        return;
    if (walk->arena)
        value->text = STR_NONE; /* it may say now what it said no more */
    struct json *at = value + 1;
    for (uint32_t i = 0; i < value->count; i++) {
        struct spot here = {.up = spot, .name = object ? at->text : STR_NONE, .index = i};
        struct str its = object ? at->text : name;
        if (object)
            look(walk, &here, at++, STR_NONE);
        walk_value(walk, &here, at, its);
        at += at->next;
    }
}

uint32_t cards_find(const struct json *document, struct str text, bool strict, struct fault *fault) {
    struct spot root = {0};
    struct walk walk = {.strict = strict, .fault = fault};
    if (text.ptr && !pan_in(text)) {
        if (!memchr(text.ptr, '\\', text.len))
            return 0;
        walk.seen = text; /* what was unescaped lies elsewhere */
    }
    /* without an arena nothing is written to the nodes */
    walk_value(&walk, &root, (struct json *)(uintptr_t)document, STR_NONE);
    return walk.count;
}

enum err cards_mask(const struct json *document, struct str text, bool strict, struct arena *arena,
                    const struct json **out, struct cards_masked *found, struct fault *fault) {
    *out = document;
    *found = (struct cards_masked){0};
    if (cards_find(document, text, strict, NULL) == 0)
        return OK;
    struct spot root = {0};
    struct buf told;
    buf_init(&told, 0);
    struct walk walk = {.strict = strict, .arena = arena, .told = &told};
    struct json *copy = arena_array(arena, document->next, sizeof *copy);
    if (copy) {
        memcpy(copy, document, document->next * sizeof *copy);
        walk_value(&walk, &root, copy, STR_NONE);
        *out = copy;
        *found = (struct cards_masked){walk.count, arena_str(arena, buf_str(&told))};
    }
    bool good = copy && !walk.nomem && buf_ok(&told) && found->where.ptr;
    buf_free(&told);
    return good ? OK : fault_set(fault, ERR_NOMEM, "no memory to mask a card number");
}
