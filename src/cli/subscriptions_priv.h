/* What the two files of `penstock subscriptions` share: subscriptions.c (all that goes out: list, stop,
 * start), subscriptions_made.c (those made through the API). */
#ifndef PENSTOCK_CLI_SUBSCRIPTIONS_PRIV_H
#define PENSTOCK_CLI_SUBSCRIPTIONS_PRIV_H

#include "cli/listing.h"

/* Status 2xx and JSON, else told and EXIT_FAILED. */
int subscriptions_ask(struct cli *cli, struct client *client, const struct client_request *request,
                      struct client_answer *answer);
/* Since when and why it stands still; nothing where it does not. */
void subscriptions_stopped_print(const struct json *object);

struct subscriptions_verb {
    const char *name;
    int (*run)(struct cli *cli, struct client *client, const char *name);
};
/* What is done with one that was made through the API; a row without a name ends them. */
extern const struct subscriptions_verb subscriptions_made[];
/* `list --api`. */
int subscriptions_made_list(struct cli *cli, struct client *client);

#endif
