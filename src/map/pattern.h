/* pattern: Lua's patterns (Lua 5.4 Reference Manual, 6.4.1) matched with a budget of steps.
 * The stock matcher can run for seconds on forty characters without one hook call; this one
 * counts every comparison and stops. Knows nothing of the Lua machine. */
#ifndef PENSTOCK_MAP_PATTERN_H
#define PENSTOCK_MAP_PATTERN_H

#include <stdint.h>

#include "base/str.h"

#define PATTERN_CAPTURES_MAX 32
#define PATTERN_DEPTH_MAX 200

enum pattern_result {
    PATTERN_NONE,  /* no match */
    PATTERN_FOUND,
    PATTERN_BAD,   /* the pattern is malformed: `fault` says how */
    PATTERN_STEPS, /* the budget is used up */
};

struct pattern_capture {
    const char *start;
    ptrdiff_t len; /* or one of the two below */
};
#define PATTERN_CAPTURE_OPEN (-1)     /* while matching only */
#define PATTERN_CAPTURE_POSITION (-2) /* "()": start alone counts */

struct pattern {
    struct str subject, text; /* text: the pattern, without a leading '^' */
    int64_t *steps;           /* left; counted down */
    const char *fault;
    uint32_t level;           /* captures taken */
    struct pattern_capture captures[PATTERN_CAPTURES_MAX];
    enum pattern_result state;
    uint32_t depth;
};

void pattern_init(struct pattern *pattern, struct str subject, struct str text, int64_t *steps);
/* Matches at `at` (within subject) exactly; *end is what follows the match. */
enum pattern_result pattern_match(struct pattern *pattern, const char *at, const char **end);

#endif
