/* listing: the lists of a running hub, as commands walk and print them. Owns nothing. */
#ifndef PENSTOCK_CLI_LISTING_H
#define PENSTOCK_CLI_LISTING_H

#include "cli/client.h"

/* Every item of what GET `path` answers, {"items":[…],"next_cursor":…}, over all its pages; path holds the
 * filters and the size of a page. visit answers an exit code; the first that is not EXIT_DONE ends it and is
 * answered. What the hub refuses is told, EXIT_FAILED. An item lasts for its visit. */
int listing_each(struct cli *cli, struct client *client, const char *path,
                 int (*visit)(void *ctx, const struct json *item), void *ctx);

/* The same printed: with --json each item on a line, else by `row`; `none` on stderr where there is none. */
int listing_print(struct cli *cli, struct client *client, const char *path,
                  void (*row)(const struct json *item), const char *none);
/* A list that comes on one page; with --json it is printed as the hub wrote it. */
int listing_whole(struct cli *cli, struct client *client, const char *path,
                  void (*row)(const struct json *item), const char *none);

/* The value as JSON on a line of its own. */
int listing_line(struct cli *cli, const struct json *value);
/* The member as text; "-" where there is none, or null. */
struct str listing_text(const struct json *object, const char *name);

#endif
