/* connector_expected: `penstock connector expected`: what should come to a running hub, and go from it, and
 * whether it does. */
#include <stdio.h>

#include "cli/connector_priv.h"
#include "cli/listing.h"

static void row_print(const struct json *row) {
    printf("%-16.*s %-4.*s %-24.*s %-8.*s", STR_FMT(listing_text(row, "connector")),
           STR_FMT(listing_text(row, "direction")),
           STR_FMT(listing_text(row, "name")), STR_FMT(listing_text(row, "state")));
    printf(" %.*s of %.*s within %.*s s; last %.*s", STR_FMT(listing_text(row, "came")),
           STR_FMT(listing_text(row, "at_least")),
           STR_FMT(listing_text(row, "every_s")), STR_FMT(listing_text(row, "last_at")));
    if (str_is(listing_text(row, "state"), "absent"))
        printf("; absent since %.*s", STR_FMT(listing_text(row, "absent_since")));
    else
        printf("; the rest by %.*s", STR_FMT(listing_text(row, "deadline_at")));
    if (!str_is(listing_text(row, "backstop"), "-"))
        printf("; %.*s repaired %.*s", STR_FMT(listing_text(row, "backstop")), STR_FMT(listing_text(row, "repaired")));
    putchar('\n');
}

int connector_expected(struct cli *cli) {
    struct client *client = cli_client(cli);
    if (!client)
        return EXIT_FAILED;
    int code = listing_whole(cli, client, "/ops/expected", row_print,
                             "nothing is expected: no topic and no subscription says `expect`");
    client_destroy(client);
    return code;
}
