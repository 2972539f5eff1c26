/* connector_list: `penstock connector list`: what a configuration connects, and of a running hub how
 * each connector fares. */
#include <inttypes.h>
#include <string.h>

#include "cli/client.h"
#include "cli/connector_priv.h"
#include "connect/connector_poll.h"
#include "connect/connector.h"

struct listing {
    struct cli *cli;
    const struct json *hub; /* items of GET /ops/connectors; NULL: no hub is asked */
    struct buf out;
    uint32_t count;
};

static const struct json *status_of(const struct listing *listing, struct str name) {
    const struct json *item = listing->hub ? json_first(listing->hub) : NULL;
    for (uint32_t i = 0; listing->hub && i < listing->hub->count; i++, item = json_next(item))
        if (str_eq(json_member_str(item, STR("connector")), name))
            return item;
    return NULL;
}

static int64_t number_of(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    int64_t number = 0;
    return value && json_i64(value, &number) ? number : 0;
}

/* --- for people ------------------------------------------------------------------------------ */

static void words_add(struct buf *out, struct str word, bool *any) {
    buf_printf(out, "%s%.*s", *any ? ", " : "", STR_FMT(word));
    *any = true;
}

static void flows_say(struct buf *out, const struct connector *c) {
    bool any = false;
    if (c->taken_count > 0)
        buf_lit(out, "    in   ");
    for (uint32_t i = 0; i < c->taken_count; i++)
        words_add(out, c->taken[i]->topic, &any);
    buf_str_add(out, any ? STR("\n") : STR(""));
    any = false;
    if (c->send.count > 0)
        buf_lit(out, "    out  ");
    for (uint32_t i = 0; i < c->send.count; i++)
        words_add(out, list_at(c->send, struct connector_send, i)->subscription, &any);
    buf_str_add(out, any ? STR("\n") : STR(""));
    if (c->missing.len > 0)
        buf_printf(out, "    not set: %.*s\n", STR_FMT(c->missing));
}

static void streams_say(struct buf *out, const struct json *status) {
    const struct json *list = json_member(status, STR("streams"));
    const struct json *s = list ? json_first(list) : NULL;
    for (uint32_t i = 0; list && i < list->count; i++, s = json_next(s)) {
        struct str error = json_member_str(s, STR("error"));
        buf_printf(out, "    %.*s: %.*s, %" PRId64 " messages", STR_FMT(json_member_str(s, STR("topic"))),
                   STR_FMT(json_member_str(s, STR("state"))), number_of(s, "messages"));
        if (json_member(s, STR("waiting")) && json_member(s, STR("waiting"))->kind == JSON_NUMBER)
            buf_printf(out, ", %" PRId64 " wait", number_of(s, "waiting"));
        buf_printf(out, "%s%.*s\n", error.len ? "; " : "", STR_FMT(error));
    }
}

static void outlets_say(struct buf *out, const struct json *status) {
    const struct json *list = json_member(status, STR("subscriptions"));
    const struct json *s = list ? json_first(list) : NULL;
    for (uint32_t i = 0; list && i < list->count; i++, s = json_next(s)) {
        struct str error = json_member_str(s, STR("error"));
        buf_printf(out, "    %.*s: %.*s, %" PRId64 " delivered, %" PRId64 " behind, %" PRId64 " held",
                   STR_FMT(json_member_str(s, STR("subscription"))), STR_FMT(json_member_str(s, STR("state"))),
                   number_of(s, "delivered"), number_of(s, "behind"), number_of(s, "held"));
        if (error.len > 0)
            buf_printf(out, "; %.*s", STR_FMT(error));
        buf_char(out, '\n');
    }
}

static void health_say(struct buf *out, const struct json *status) {
    const struct json *rejected = json_member(status, STR("rejected"));
    struct str last = json_member_str(status, STR("mapped_at"));
    buf_printf(out, "    hub: %.*s", STR_FMT(json_member_str(status, STR("state"))));
    if (json_member_str(status, STR("version")).len > 0)
        buf_printf(out, ", version %.*s+%.*s", STR_FMT(json_member_str(status, STR("version"))),
                   STR_FMT(json_member_str(status, STR("hash"))));
    buf_printf(out, ", %" PRId64 " received, %" PRId64 " failed, last success %.*s\n",
               number_of(status, "received"), number_of(status, "failed"),
               STR_FMT(last.len ? last : STR("never")));
    if (rejected && rejected->kind == JSON_OBJECT)
        buf_printf(out, "    not taken: %.*s\n", STR_FMT(json_member_str(rejected, STR("cause"))));
    streams_say(out, status);
    outlets_say(out, status);
}

/* --- for programs ---------------------------------------------------------------------------- */

static void member(struct buf *out, const char *name, struct str text) {
    buf_printf(out, ",\"%s\":", name);
    if (text.len > 0)
        buf_json_str(out, text);
    else
        buf_lit(out, "null");
}

static void item_json(struct buf *out, const struct connector *c, const struct json *status) {
    buf_lit(out, "{\"connector\":");
    buf_json_str(out, c->name);
    member(out, "version", c->version);
    member(out, "hash", c->hash);
    member(out, "owner", c->owner);
    member(out, "missing", c->missing);
    buf_lit(out, ",\"topics\":[");
    for (uint32_t i = 0; i < c->taken_count; i++) {
        buf_str_add(out, i ? STR(",") : STR(""));
        buf_json_str(out, c->taken[i]->topic);
    }
    buf_lit(out, "],\"subscriptions\":[");
    for (uint32_t i = 0; i < c->send.count; i++) {
        buf_str_add(out, i ? STR(",") : STR(""));
        buf_json_str(out, list_at(c->send, struct connector_send, i)->subscription);
    }
    buf_lit(out, "],\"hub\":");
    if (status)
        json_write(out, status);
    else
        buf_lit(out, "null");
    buf_char(out, '}');
}

static void item_add(struct listing *listing, const struct connector *c) {
    struct buf *out = &listing->out;
    const struct json *status = status_of(listing, c->name);
    if (listing->cli->json) {
        buf_str_add(out, listing->count ? STR(",") : STR(""));
        item_json(out, c, status);
    } else {
        const char *way = c->taken_count && c->send.count ? "in and out" : c->taken_count ? "in" : "out";
        buf_printf(out, "%-16.*s %-10.*s %-16.*s %s\n", STR_FMT(c->name), STR_FMT(c->version),
                   STR_FMT(c->owner), way);
        flows_say(out, c);
        if (status)
            health_say(out, status);
        else if (listing->hub)
            buf_lit(out, "    hub: does not serve it\n");
    }
    listing->count++;
}

static enum err hub_ask(struct listing *listing, struct fault *fault) {
    struct client_answer answer;
    struct client *client = cli_client(listing->cli);
    if (!client)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    enum err err = client_get(client, "/ops/connectors", &listing->cli->arena, &answer, fault);
    client_destroy(client);
    if (!err)
        listing->hub = json_member(answer.json, STR("items"));
    return err;
}

int connector_list(struct cli *cli) {
    struct listing listing = {.cli = cli};
    struct connectors *set = NULL;
    struct fault fault;
    fault_init(&fault, &cli->arena);
    enum err err = connectors_load(cli_value(cli, "config"), &set, &fault);
    if (!err && cli_value(cli, "hub"))
        err = hub_ask(&listing, &fault);
    if (err) {
        connectors_release(set);
        return cli_fault(cli, &fault);
    }
    buf_init(&listing.out, 0);
    if (cli->json)
        buf_lit(&listing.out, "{\"items\":[");
    for (uint32_t i = 0; i < set->count; i++)
        item_add(&listing, set->items[i]);
    if (cli->json)
        buf_lit(&listing.out, "]}\n");
    int code = cli_print(cli, buf_str(&listing.out));
    buf_free(&listing.out);
    connectors_release(set);
    return code;
}
