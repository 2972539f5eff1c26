/* http_chars: which characters may stand where in a message (RFC 9110 section 5, RFC 3986). */
#ifndef PENSTOCK_GATEWAY_HTTP_CHARS_H
#define PENSTOCK_GATEWAY_HTTP_CHARS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    HTTP_CHAR_TOKEN = 1,  /* of methods and names */
    HTTP_CHAR_VALUE = 2,  /* of values: visible, space, tab, and bytes beyond ASCII */
    HTTP_CHAR_TARGET = 4, /* of a target: visible ASCII, save the backslash, which some take for a
                             slash, and '#' */
    HTTP_CHAR_HOST = 8,   /* of a name of a host; RFC 3986 allows more (!$&'()*+,;=), no host has it */
};
extern const uint8_t http_chars[256];

static inline bool http_char_is(char c, int set) { return http_chars[(uint8_t)c] & set; }
static inline char http_char_lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

#endif
