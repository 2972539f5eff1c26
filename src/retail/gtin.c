/* gtin: see gtin.h. */
#include "retail/gtin.h"

/* GS1 General Specifications, section 7.9: from the right, digits weigh 1, 3, 1, 3 …, and the
 * sum is a multiple of ten. */
static bool check_digit_holds(struct str text) {
    unsigned sum = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned digit = (unsigned)((unsigned char)text.ptr[text.len - 1 - i] - '0');
        if (digit > 9)
            return false;
        sum += digit * (i % 2 ? 3 : 1);
    }
    return sum % 10 == 0;
}

bool gtin_normalise(struct str text, char out[14]) {
    if ((text.len != 8 && (text.len < 12 || text.len > 14)) || !check_digit_holds(text))
        return false;
    size_t zeros = 14 - text.len;
    memset(out, '0', zeros);
    memcpy(out + zeros, text.ptr, text.len);
    return true;
}

bool gln_valid(struct str text) { return text.len == 13 && check_digit_holds(text); }
