/* pan: see pan.h. First a filter over whole blocks finds runs of at least 13 characters that can
 * be part of a card number as it is written; only these are read closely. */
#include "base/pan.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* --- the filter -------------------------------------------------------------------------- */

#define BLOCK 64

/* Digits and what stands between them: '+' to '9' in ASCII (+ , - . / 0 … 9), a space, and the two
 * bytes of U+00A0. Wider than it must be: only a filter. */
static inline bool may_belong(unsigned char c) {
    return (unsigned)c - '+' <= '9' - '+' || c == ' ' || c == 0xC2 || c == 0xA0;
}

#ifdef __SSE2__
static inline uint32_t block_part(const char *at) {
    __m128i c = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i from = _mm_sub_epi8(c, _mm_set1_epi8('+'));
    __m128i in = _mm_cmpeq_epi8(_mm_min_epu8(from, _mm_set1_epi8('9' - '+')), from);
    in = _mm_or_si128(in, _mm_cmpeq_epi8(c, _mm_set1_epi8(' ')));
    in = _mm_or_si128(in, _mm_cmpeq_epi8(c, _mm_set1_epi8((char)0xC2)));
    in = _mm_or_si128(in, _mm_cmpeq_epi8(c, _mm_set1_epi8((char)0xA0)));
    return (uint32_t)_mm_movemask_epi8(in);
}
static inline uint64_t block_mask(const char *at) {
    return (uint64_t)block_part(at) | (uint64_t)block_part(at + 16) << 16 |
           (uint64_t)block_part(at + 32) << 32 | (uint64_t)block_part(at + 48) << 48;
}
#else
static inline uint64_t block_mask(const char *at) {
    uint64_t mask = 0;
    for (int i = 0; i < BLOCK; i++)
        mask |= (uint64_t)may_belong((unsigned char)at[i]) << i;
    return mask;
}
#endif

static inline uint32_t ones_low(uint64_t mask) {
    return mask == UINT64_MAX ? BLOCK : (uint32_t)__builtin_ctzll(~mask);
}
static inline uint32_t ones_high(uint64_t mask) {
    return mask == UINT64_MAX ? BLOCK : (uint32_t)__builtin_clzll(~mask);
}

#define RUN_SEEN 1024 /* so that finding many in one run costs no more than the run is long */

/* The first run of 13 or more at or behind `from`: [*start, *end), of long ones the beginning. */
static bool run_next(struct str text, size_t from, size_t *start, size_t *end) {
    size_t carry = 0; /* of a run that reaches the block's beginning */
    for (size_t at = from; at < text.len; at += BLOCK) {
        char last[BLOCK] = {0};
        const char *block = text.ptr + at;
        if (text.len - at < BLOCK)
            block = memcpy(last, block, text.len - at);
        uint64_t mask = block_mask(block);
        uint64_t runs = mask & mask >> 1;
        runs &= runs >> 2;
        runs &= runs >> 4; /* 8 */
        runs &= runs >> 5; /* 13 */
        bool joins = carry + ones_low(mask) >= PAN_DIGITS_MIN;
        if (joins || runs) {
            *start = joins ? at - carry : at + (size_t)__builtin_ctzll(runs);
            size_t most = text.len - *start > RUN_SEEN ? *start + RUN_SEEN : text.len;
            for (*end = *start; *end < most && may_belong((unsigned char)text.ptr[*end]);)
                ++*end;
            return true;
        }
        carry = mask == UINT64_MAX ? carry + BLOCK : ones_high(mask);
    }
    return false;
}

/* --- what a number says of itself -------------------------------------------------------- */

static inline bool digit_is(char c) { return c >= '0' && c <= '9'; }
static inline bool letter_is(char c) { return (unsigned)(c | 32) - 'a' < 26; }

#define LENGTHS(from, to) (((1u << ((to) + 1)) - 1) & ~((1u << (from)) - 1))
/* Issuer ranges by the first six digits, ascending, as the schemes publish them. UATP (15 digits,
 * first digit 1) is left out: airlines' accounts, and half of all ids there are. */
static const struct {
    uint32_t from, to, lengths;
} issuers[] = {
    {220000, 220499, LENGTHS(16, 19)},              /* Mir */
    {222100, 272099, LENGTHS(16, 16)},              /* Mastercard */
    {300000, 305999, LENGTHS(14, 14) | LENGTHS(16, 19)}, /* Diners Club */
    {309500, 309599, LENGTHS(14, 14) | LENGTHS(16, 19)},
    {340000, 349999, LENGTHS(15, 15)},              /* American Express */
    {352800, 358999, LENGTHS(16, 19)},              /* JCB; 15 digits are an IMEI */
    {360000, 369999, LENGTHS(14, 19) & ~LENGTHS(15, 15)}, /* Diners Club */
    {370000, 379999, LENGTHS(15, 15)},              /* American Express */
    {380000, 399999, LENGTHS(14, 14) | LENGTHS(16, 19)}, /* Diners Club, Hipercard */
    {400000, 499999, LENGTHS(13, 13) | LENGTHS(16, 16) | LENGTHS(19, 19)}, /* Visa */
    {500000, 509999, LENGTHS(13, 19)},              /* Maestro, RuPay, Verve, Elo, Dankort */
    {510000, 559999, LENGTHS(16, 16)},              /* Mastercard */
    {560000, 589999, LENGTHS(13, 19)},              /* Maestro */
    {601100, 601199, LENGTHS(16, 19)},              /* Discover */
    {606282, 606282, LENGTHS(16, 19)},              /* Hipercard */
    {606985, 608500, LENGTHS(16, 16)},              /* RuPay */
    {620000, 629999, LENGTHS(16, 19)},              /* UnionPay */
    {630400, 630499, LENGTHS(13, 19)},              /* Maestro */
    {636000, 639999, LENGTHS(16, 19)},              /* InterPayment, InstaPayment, Elo */
    {644000, 659999, LENGTHS(16, 19)},              /* Discover, RuPay, Elo */
    {675900, 676399, LENGTHS(13, 19)},              /* Maestro */
    {676700, 676799, LENGTHS(13, 19)},
    {810000, 817199, LENGTHS(16, 19)},              /* UnionPay */
    {979200, 979289, LENGTHS(16, 16)},              /* Troy */
};

static bool issued(const char *digits, uint32_t count) {
    uint32_t prefix = 0;
    for (int i = 0; i < 6; i++)
        prefix = prefix * 10 + (uint32_t)(digits[i] - '0');
    for (size_t i = 0; i < sizeof issuers / sizeof *issuers && prefix >= issuers[i].from; i++)
        if (prefix <= issuers[i].to)
            return issuers[i].lengths >> count & 1;
    return false;
}

/* ISO/IEC 7812-1, annex B. */
static bool luhn_holds(const char *digits, uint32_t count) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t digit = (uint32_t)(digits[count - 1 - i] - '0');
        sum += i % 2 == 0 ? digit : digit > 4 ? 2 * digit - 9 : 2 * digit;
    }
    return sum % 10 == 0;
}

/* --- groups -------------------------------------------------------------------------------- */

#define GROUPS_MAX PAN_DIGITS_MAX

/* Bytes of the one separator at `at`, 0 where there is none. */
static size_t separator(struct str text, size_t at) {
    unsigned char c = (unsigned char)text.ptr[at];
    if (c == ' ' || c == '-' || c == '.' || c == '/' || c == '+')
        return 1;
    return c == 0xC2 && at + 1 < text.len && (unsigned char)text.ptr[at + 1] == 0xA0 ? 2 : 0;
}

/* Whether a card number is written in groups of these sizes: all of one size (the last may be
 * shorter), or as American Express (4-6-5), Diners Club (4-6-4), old Visa (4-3-3-3) print it. */
static bool groups_usual(const uint32_t *sizes, uint32_t count) {
    static const uint32_t printed[][4] = {{4, 6, 5, 0}, {4, 6, 4, 0}, {4, 3, 3, 3}};
    if (count == 1)
        return true;
    for (size_t i = 0; i < sizeof printed / sizeof *printed; i++)
        if (count == 3u + (printed[i][3] > 0) && memcmp(sizes, printed[i], count * sizeof *sizes) == 0)
            return true;
    if (sizes[0] != 1 && sizes[0] != 2 && sizes[0] != 4 && sizes[0] != 8)
        return false;
    for (uint32_t i = 1; i + 1 < count; i++)
        if (sizes[i] != sizes[0])
            return false;
    return sizes[count - 1] <= sizes[0];
}

/* --- false friends ------------------------------------------------------------------------- */

/* Whether the place lies in an IBAN that begins at `from`: country, check digits, up to 30 more,
 * perhaps in groups; the number with the first four behind is 1 modulo 97 (ISO 13616, ISO 7064).
 * Something may follow it behind a space: all lengths are tried. */
static bool iban_covers(struct str text, size_t from, const struct pan_place *place) {
    size_t end = place->at + place->len;
    uint32_t head = 0, rest = 0, count = 0;
    for (size_t at = from; at < text.len && count < 34; at++) {
        char c = text.ptr[at];
        if (!digit_is(c) && !letter_is(c)) {
            if (separator(text, at) != 1)
                return false;
            continue;
        }
        uint32_t *to = ++count <= 4 ? &head : &rest;
        *to = digit_is(c) ? (*to * 10 + (uint32_t)(c - '0')) % 97
                          : (*to * 100 + (uint32_t)((c | 32) - 'a' + 10)) % 97;
        /* two letters and two digits are six digits */
        if (count >= 15 && at + 1 >= end && (rest * (1000000 % 97) + head) % 97 == 1)
            return true;
    }
    return false;
}

static bool in_iban(struct str text, const struct pan_place *place) {
    size_t from = place->at > 40 ? place->at - 40 : 0;
    for (size_t at = from; at < place->at && at + 4 < text.len; at++)
        if (letter_is(text.ptr[at]) && letter_is(text.ptr[at + 1]) && digit_is(text.ptr[at + 2]) &&
            digit_is(text.ptr[at + 3]) &&
            (at == 0 || (!letter_is(text.ptr[at - 1]) && !digit_is(text.ptr[at - 1]))) &&
            iban_covers(text, at, place))
            return true;
    return false;
}

#define WORD_BYTES_SEEN 64 /* of it, on either side */
#define WORD_BYTES_MIN 24 /* of letters and digits: a hash or a token rather than a name and a number */

/* Inside a word: letters on both sides, or the word is so long that it is no name with a number. */
static bool in_word(struct str text, const struct pan_place *place) {
    size_t from = place->at, to = place->at + place->len;
    size_t first = from > WORD_BYTES_SEEN ? from - WORD_BYTES_SEEN : 0;
    size_t last = text.len - to > WORD_BYTES_SEEN ? to + WORD_BYTES_SEEN : text.len;
    while (from > first && (letter_is(text.ptr[from - 1]) || digit_is(text.ptr[from - 1])))
        from--;
    while (to < last && (letter_is(text.ptr[to]) || digit_is(text.ptr[to])))
        to++;
    bool before = from < place->at, behind = to > place->at + place->len;
    return (before && behind) || ((before || behind) && to - from >= WORD_BYTES_MIN);
}

/* --- one run -------------------------------------------------------------------------------- */

/* The number that begins with the group at `at`: the length that is most usual where several
 * would do, so that what stands behind it is not taken for a part of it. */
static bool number_at(struct str text, size_t at, struct pan_place *out) {
    static const uint8_t rank[PAN_DIGITS_MAX + 1] = {[16] = 7, [15] = 6, [14] = 5, [13] = 4,
                                                     [19] = 3, [18] = 2, [17] = 1};
    char digits[PAN_DIGITS_MAX];
    uint32_t sizes[GROUPS_MAX], groups = 0, count = 0;
    size_t end = text.len;
    struct pan_place best = {0};
    for (size_t i = at; i < end && groups < GROUPS_MAX;) {
        uint32_t size = 0;
        for (; i < end && digit_is(text.ptr[i]); i++, size++) {
            if (count == PAN_DIGITS_MAX)
                goto done; /* longer than any */
            digits[count++] = text.ptr[i];
        }
        if (size == 0)
            break;
        sizes[groups++] = size;
        struct pan_place place = {at, i - at, count, groups > 1};
        if (count >= PAN_DIGITS_MIN && (best.digits == 0 || rank[count] > rank[best.digits]) &&
            groups_usual(sizes, groups) && issued(digits, count) && luhn_holds(digits, count) &&
            !(at > 0 && text.ptr[at - 1] == '+' && count <= 15) &&
            !in_word(text, &place) && !in_iban(text, &place))
            best = place;
        i += i < end ? separator(text, i) : 0;
    }
done:
    *out = best;
    return best.digits > 0;
}

/* Within single digits with separators between them: only their first one begins a number, or each
 * would be looked at with the next eighteen. */
static bool in_chain(struct str text, size_t at) {
    return at > 1 && (at + 1 == text.len || !digit_is(text.ptr[at + 1])) &&
           separator(text, at - 1) == 1 && digit_is(text.ptr[at - 2]) &&
           (at == 2 || !digit_is(text.ptr[at - 3]));
}

/* Whether a number may begin here: a digit behind none, no decimal of a fraction. */
static bool begins(struct str text, size_t at) {
    if (!digit_is(text.ptr[at]) || (at > 0 && digit_is(text.ptr[at - 1])))
        return false;
    bool decimals = at > 1 && text.ptr[at - 1] == '.' && digit_is(text.ptr[at - 2]);
    return !decimals && !in_chain(text, at);
}

bool pan_next(struct str text, size_t from, struct pan_place *out) {
    size_t start, end;
    while (run_next(text, from, &start, &end)) {
        bool cut = end < text.len && may_belong((unsigned char)text.ptr[end]);
        size_t last = cut ? end : end - (PAN_DIGITS_MIN - 1);
        for (size_t at = start; at < last; at++)
            if (begins(text, at) && number_at(text, at, out))
                return true;
        from = end;
    }
    return false;
}

/* --- masking --------------------------------------------------------------------------------- */

void pan_mask_at(char *text, const struct pan_place *place, bool number) {
    char digits[PAN_DIGITS_MAX];
    uint32_t seen = 0;
    char *first = NULL;
    for (size_t i = place->at; i < place->at + place->len; i++) {
        if (!digit_is(text[i]))
            continue;
        if (seen >= 6 && seen + 4 < place->digits) {
            text[i] = number ? '0' : '*';
            first = first ? first : &text[i];
        }
        digits[seen++] = text[i];
    }
    if (number && first && luhn_holds(digits, seen))
        *first = '1';
}

size_t pan_mask(char *text, size_t len) {
    struct pan_place place;
    size_t count = 0;
    for (size_t from = 0; pan_next(str_of(text, len), from, &place); count++) {
        pan_mask_at(text, &place, false);
        from = pan_again(&place);
    }
    return count;
}
