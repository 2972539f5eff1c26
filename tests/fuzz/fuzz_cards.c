/* Any bytes as a text that may hold card numbers. What is found lies within the text and has as many
 * digits as it says; it is the same wherever the text stands; what was masked holds none any more,
 * and differs in digits alone. */
#include "fuzz.h"

#include "base/err.h"
#include "base/mem.h"
#include "base/pan.h"
#include "retail/cards.h"

static void places(const char *text, size_t size, size_t shift, const char *shifted) {
    struct pan_place place, again;
    for (size_t from = 0; pan_next(str_of(text, size), from, &place); from = place.at + place.len) {
        uint32_t digits = 0;
        must(place.at >= from && place.len >= PAN_DIGITS_MIN && place.at + place.len <= size);
        for (size_t i = place.at; i < place.at + place.len; i++)
            digits += text[i] >= '0' && text[i] <= '9';
        must(digits == place.digits && digits >= PAN_DIGITS_MIN && digits <= PAN_DIGITS_MAX);
        must(pan_next(str_of(shifted, size + shift), from + shift, &again));
        must(again.at == place.at + shift && again.len == place.len);
    }
}

static void document(const char *text, size_t size) {
    static struct json_parser *parser;
    struct arena arena;
    struct fault fault = {0};
    struct cards_masked found;
    const struct json *doc, *masked;
    struct str whole = str_of(text, size);
    if (!parser)
        parser = json_parser_create();
    must(parser);
    arena_init(&arena, 0);
    if (json_parse(parser, &arena, whole, false, &doc, &fault) == OK) {
        uint32_t count = cards_find(doc, whole, false, NULL);
        must(count == cards_find(doc, STR_NONE, false, NULL)); /* the quick look misses nothing */
        must(cards_mask(doc, whole, false, &arena, &masked, &found, &fault) == OK);
        must(found.count == count && (count > 0) == (masked != doc));
        must(cards_find(masked, STR_NONE, false, NULL) == 0);
    }
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1 || size > 4096)
        return 0;
    size_t shift = data[0];
    const char *text = (const char *)data + 1;
    char *copy = mem_alloc(--size + shift + 1);
    must(copy);
    memset(copy, ';', shift);
    memcpy(copy + shift, text, size);
    places(text, size, shift, copy);
    pan_mask(copy, size + shift);
    must(!pan_in(str_of(copy, size + shift)));
    for (size_t i = 0; i < size; i++)
        must(copy[shift + i] == text[i] || (copy[shift + i] == '*' && text[i] >= '0' && text[i] <= '9'));
    mem_free(copy);
    document(text, size);
    return 0;
}
