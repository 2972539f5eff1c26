/* What an answer says of its sender's limits. The first line: wall clock in seconds; then headers, `Name: value` a
 * line; behind an empty line a body. Whatever they say, what is made of it is within bounds, and a governor that
 * believes it keeps to what was declared: never more calls at once, and time that goes on. */
#include "fuzz.h"

#include <string.h>

#include "base/err.h"
#include "connect/governor.h"

#define HEADERS_MAX 32
#define LARGEST INT64_C(1000000000000000000) /* thousandths of a call, by what one costs */

static void in_bounds(const struct throttle_hint *hint) {
    must(hint->remaining_m >= THROTTLE_UNKNOWN && hint->remaining_m <= LARGEST);
    must(hint->limit_m >= THROTTLE_UNKNOWN && hint->limit_m <= LARGEST);
    must(hint->restore_mps == THROTTLE_UNKNOWN || (hint->restore_mps > 0 && hint->restore_mps <= LARGEST));
    must(hint->reset_ms >= THROTTLE_UNKNOWN);
}

static void believe(const struct throttle_hint *hint, int64_t wall_us, bool declared) {
    struct rng_seeded rng;
    struct governor governor;
    struct governor_limits limits = {.calls = declared ? 10 : 0, .per_ms = 1000, .burst = 5, .concurrency = 3};
    struct governor_time now = {.tick_us = 1000000, .wall_us = wall_us};
    int64_t due_us;
    rng_seeded_init(&rng, 1);
    governor_init(&governor, &limits, now);
    for (int i = 0; i < 20; i++) {
        enum governor_says says = governor_ask(&governor, now, &due_us);
        must(due_us >= now.tick_us);
        enum governor_end end = i % 7 == 6 ? GOVERNOR_TOO_MUCH : GOVERNOR_DONE;
        if (says == GOVERNOR_GO) {
            governor_take(&governor, now);
            governor_end(&governor, end, now.tick_us, -1, hint, &rng.rng, now);
        }
        must(governor.out == 0 && governor_concurrency(&governor) <= 3);
        must(governor_tokens(&governor, now.tick_us) >= 0);
        must(!declared || governor_rate_mps(&governor) <= 10000);
        now.tick_us += 50000;
        now.wall_us += 50000;
    }
}

static void both(const struct throttle_hint *hint, int64_t wall_us) {
    in_bounds(hint);
    believe(hint, wall_us, true);
    believe(hint, wall_us, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct str rest = str_of((const char *)data, size), line = str_cut(&rest, '\n');
    struct net_header headers[HEADERS_MAX];
    struct net_answer answer = {.status = 200, .headers = headers};
    struct throttle_hint hint;
    int64_t wall_s;
    if (!str_i64(line, &wall_s) || wall_s < 0 || wall_s > INT64_C(4102444800))
        wall_s = 1795392000;
    while (rest.ptr && rest.len > 0 && answer.header_count < HEADERS_MAX) {
        line = str_cut(&rest, '\n');
        if (line.len == 0)
            break;
        struct str value = line, name = str_cut(&value, ':');
        headers[answer.header_count++] = (struct net_header){name, value.ptr ? str_trim(value) : STR("")};
    }
    if (throttle_headers(&answer, wall_s * 1000000, &hint))
        both(&hint, wall_s * 1000000);
    struct json_parser *parser = json_parser_create();
    const struct json *body;
    struct arena arena;
    struct fault fault = {0};
    arena_init(&arena, 1 << 20);
    struct str copy = rest.ptr && rest.len > 0 ? arena_str(&arena, rest) : STR_NONE;
    if (parser && copy.ptr && json_parse(parser, &arena, copy, false, &body, &fault) == OK &&
        throttle_cost(body, &hint))
        both(&hint, wall_s * 1000000);
    arena_free(&arena);
    json_parser_destroy(parser);
    return 0;
}
