/* shelf: a shop front that is told how much of everything there is: many positions in a call, and of each
 * the newest value alone (`conflate`, `batch`). It takes some members of a call and not others, and keeps
 * what it was told last. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "sim.h"

/* Takes what the call says, but for the member `fails` (UINT32_MAX: takes all); *out, where it is wanted,
 * gets the answer. */
void shelf_take(struct sim *sim, struct str body, uint32_t fails, struct buf *out) {
    const struct json *list;
    struct fault fault = {0};
    struct arena arena;
    struct json_parser *parser = json_parser_create();
    arena_init(&arena, 0);
    must(parser);
    if (json_parse(parser, &arena, body, false, &list, &fault) != OK || list->kind != JSON_ARRAY)
        violate(sim, "partner", "the shelf was sent no list: %.*s", STR_FMT(body));
    if (out)
        buf_lit(out, "{\"results\":[");
    const struct json *at = json_first(list);
    for (uint32_t i = 0; i < list->count; i++, at = json_next(at)) {
        if (out)
            buf_printf(out, "%s\"%s\"", i ? "," : "", i == fails ? "retryable" : "success");
        if (i == fails)
            continue;
        sim->result->effects++;
        observe(sim, "{\"set\":{\"subscription\":\"shelf-stock\",\"lane\":\"%.*s\",\"version\":%.*s,"
                "\"available\":\"%.*s\"}}", STR_FMT(json_member_str(at, STR("lane"))),
                STR_FMT(json_member(at, STR("version"))->text),
                STR_FMT(json_member(at, STR("available"))->text));
    }
    if (out)
        buf_lit(out, "]}");
    json_parser_destroy(parser);
    arena_free(&arena);
}
