/* fixture_tell: see fixture_tell.h. */
#include "cli/fixture_tell.h"

#include <stdio.h>

void fixture_tell(const struct cli *cli, struct buf *json, const struct fixture_result *result) {
    if (!cli->json) {
        printf("%s %.*s %.*s\n%.*s", result->good ? "ok    " : "FAILED", STR_FMT(result->mapping),
               STR_FMT(result->name), STR_FMT(result->said));
        return;
    }
    buf_str_add(json, json->len > 1 ? STR(",{\"mapping\":") : STR("{\"mapping\":"));
    buf_json_str(json, result->mapping);
    buf_lit(json, ",\"fixture\":");
    buf_json_str(json, result->name);
    buf_printf(json, ",\"ok\":%s,\"differences\":", result->good ? "true" : "false");
    buf_json_str(json, str_trim(result->said));
    buf_char(json, '}');
}
