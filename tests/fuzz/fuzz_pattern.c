/* The first line is a pattern, the rest what it is matched against, at every place. Whatever
 * the two are, the matcher ends within its budget, and what it captures lies in the subject. */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "map/pattern.h"

#define STEPS 20000

static void look(const struct pattern *pattern, struct str subject, const char *at,
                 const char *end) {
    must(end >= at && end <= subject.ptr + subject.len);
    must(pattern->level <= PATTERN_CAPTURES_MAX);
    for (uint32_t i = 0; i < pattern->level; i++) {
        const struct pattern_capture *capture = &pattern->captures[i];
        must(capture->start >= subject.ptr && capture->start <= subject.ptr + subject.len);
        must(capture->len == PATTERN_CAPTURE_POSITION ||
             (capture->len >= 0 && capture->start + capture->len <= subject.ptr + subject.len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str subject = str_of((const char *)data, size);
    struct str text = str_cut(&subject, '\n');
    if (!subject.ptr)
        subject = str_of((const char *)data + size, 0);
    if (text.len && text.ptr[0] == '^')
        text = str_of(text.ptr + 1, text.len - 1);
    int64_t steps = STEPS;
    for (size_t at = 0; at <= subject.len && steps > 0; at++) {
        struct pattern pattern;
        pattern_init(&pattern, subject, text, &steps);
        const char *end = NULL;
        enum pattern_result result = pattern_match(&pattern, subject.ptr + at, &end);
        if (result == PATTERN_FOUND)
            look(&pattern, subject, subject.ptr + at, end);
        if (result == PATTERN_BAD)
            must(pattern.fault);
        if (result == PATTERN_BAD || result == PATTERN_STEPS)
            break;
    }
    return 0;
}
