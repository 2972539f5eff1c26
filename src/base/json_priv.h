/* json_priv: what json.c and its C++ shim json_simdjson.cc say to each other. */
#ifndef PENSTOCK_BASE_JSON_PRIV_H
#define PENSTOCK_BASE_JSON_PRIV_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum json_index_result {
    JSON_INDEX_OK,
    JSON_INDEX_EMPTY,
    JSON_INDEX_UTF8,
    JSON_INDEX_UNCLOSED, /* a string */
    JSON_INDEX_CONTROL,  /* a bare control character in a string */
    JSON_INDEX_NOMEM,
    JSON_INDEX_FAILED,
};

struct json_index;
struct json_index *json_index_create(void);
void json_index_destroy(struct json_index *index);

/* Finds where every token of text starts: brackets, commas, colons, strings, scalars.
 * offsets[*count] is len. Valid until the next call. Holds always, on OK: all of text is
 * valid UTF-8, every string is closed, holds no bare control character, and between the
 * start of a token and the start of the next there is nothing but the rest of the token and
 * white space; a string's rest ends with its closing quote. */
enum json_index_result json_index_run(struct json_index *index, const char *text, size_t len,
                                      const uint32_t **offsets, uint32_t *count);

#ifdef __cplusplus
}
#endif
#endif
