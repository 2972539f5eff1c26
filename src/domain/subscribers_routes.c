/* subscribers_routes: who asks for subscriptions, and which addresses they may have. */
#include "domain/subscribers_priv.h"

#include <string.h>

#include "base/inet.h"
#include "base/mem.h"
#include "core/core.h"

/* --- addresses ------------------------------------------------------------------------------- */

/* What stands for this machine whatever a resolver says (RFC 6761, section 6.3). */
static bool is_local(struct str host) {
    struct str local = STR("localhost");
    while (host.len && host.ptr[host.len - 1] == '.')
        host.len--;
    if (host.len < local.len)
        return false;
    struct str end = str_of(host.ptr + host.len - local.len, local.len);
    return str_eq_nocase(end, local) &&
           (host.len == local.len || host.ptr[host.len - local.len - 1] == '.');
}

/* Names are looked at again when they have become an address (net_request.guarded). */
const char *subscriber_url_wrong(struct str url, bool private_too) {
    struct str https = STR("https://"), http = STR("http://"), rest = url;
    struct inet_address address;
    for (size_t i = 0; i < url.len; i++)
        if ((unsigned char)url.ptr[i] <= ' ' || (unsigned char)url.ptr[i] >= 127 || url.ptr[i] == '\\')
            return "has characters that no address has: encode them (RFC 3986)";
    if (str_starts(url, https))
        rest = str_of(url.ptr + https.len, url.len - https.len);
    else if (private_too && str_starts(url, http))
        rest = str_of(url.ptr + http.len, url.len - http.len);
    else
        return "must begin with https://";
    size_t len = 0;
    while (len < rest.len && !strchr("/?#", rest.ptr[len]))
        len++;
    struct str host = str_of(rest.ptr, len);
    if (len < rest.len && memchr(rest.ptr + len, '#', rest.len - len))
        return "must have no fragment";
    if (memchr(host.ptr, '@', host.len))
        return "must have no user name";
    if (memchr(url.ptr, '{', url.len) || memchr(url.ptr, '}', url.len))
        return "must have no braces";
    bool literal = inet_parse(host, &address);
    if (!literal && host.len && host.ptr[0] != '[') {
        const char *port = memchr(host.ptr, ':', host.len);
        host.len = port ? (size_t)(port - host.ptr) : host.len;
    }
    if (host.len == 0)
        return "has no host";
    if (!literal && host.ptr[0] == '[')
        return "has no valid address";
    if (private_too)
        return NULL;
    if ((literal && !inet_public(&address)) || is_local(host))
        return "is a private address (setting webhooks_private)";
    return NULL;
}

/* --- asking ---------------------------------------------------------------------------------- */

static enum err shown_write(struct query *query, const struct subscriber *doc, struct fault *fault) {
    struct core *core = query->reader->core;
    struct subscriber shown;
    core_read_begin(core);
    enum err err = subscriber_show(doc, core_state(core, &stops_capability), query->arena, &shown);
    core_read_end(core);
    if (err != OK)
        return fault_set(fault, err, "no memory for the answer");
    shape_encode(&subscriber_shape, &shown, query->out);
    return OK;
}

enum err subscriber_query(struct query *query, struct fault *fault) {
    struct core *core = query->reader->core;
    query->seq = core_seq(core);
    core_read_begin(core);
    const struct subscriber_entry *entry =
        subscriber_find(core_state(core, &subscribers_capability), query->args[0]);
    core_read_end(core);
    if (!entry)
        return fault_set(fault, ERR_NOT_FOUND, "there is no subscription %.*s",
                         (int)(query->args[0].len < 64 ? query->args[0].len : 64), query->args[0].ptr);
    enum err err = shown_write(query, &entry->doc, fault);
    subscriber_release(entry);
    return err;
}

static enum err list_query(struct query *query, struct fault *fault) {
    struct core *core = query->reader->core;
    struct str after = query_value(query, "cursor"), owner = query_value(query, "owner");
    const struct subscriber_entry **all = NULL;
    uint32_t count = 0, limit, shown = 0;
    enum err err = query_limit(query, 100, 1000, &limit, fault);
    if (err != OK)
        return err;
    query->seq = core_seq(core);
    core_read_begin(core);
    err = subscribers_all(core_state(core, &subscribers_capability), &all, &count);
    core_read_end(core);
    if (err != OK)
        return fault_set(fault, err, "no memory for the answer");
    list_begin(query->out);
    struct str last = STR_NONE;
    for (uint32_t i = 0; i < count && err == OK; i++) {
        const struct subscriber *doc = &all[i]->doc;
        if ((after.ptr && str_cmp(doc->name, after) <= 0) || (owner.ptr && !str_eq(owner, doc->owner)))
            continue;
        if (shown == limit) {
            query->next_cursor = arena_str(query->arena, last);
            break;
        }
        shown++;
        list_next(query->out);
        err = shown_write(query, doc, fault);
        last = doc->name;
    }
    list_end(query->out, query->next_cursor);
    for (uint32_t i = 0; i < count; i++)
        subscriber_release(all[i]);
    mem_free(all);
    return err;
}

static const struct query_param list_params[] = {
    {"owner", false, false, "Only this team's"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
#define PATH "/v1/subscriptions"
#define READS .scope = "subscriptions:read", .traffic = CLASS_OPS, .answer = &subscriber_shape
#define WRITES .scope = "subscriptions:write", .traffic = CLASS_OPS, .answer = &subscriber_shape
const struct route subscriber_routes[] = {
    {.method = "GET", .path = PATH, READS, .query = list_query, .params = list_params,
     .help = "Subscriptions that were made through the API, by name"},
    {.method = "POST", .path = PATH, WRITES, .command = &subscriber_create_command, .status = 201,
     .refusals = ROUTE_REFUSES(ERR_CONFLICT), .help = "Make a subscription: a webhook, or one to pull from",
     .more = "Events are posted as CloudEvents, signed by Standard Webhooks 1.0; the secret is in this "
             "answer alone. It gets every event of the types it names, so this scope reads what "
             "events:read does."},
    {.method = "GET", .path = PATH "/{name}", READS, .query = subscriber_query,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND), .help = "A subscription"},
    {.method = "PATCH", .path = PATH "/{name}", WRITES, .command = &subscriber_change_command,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_STALE), .help = "Change a subscription"},
    {.method = "DELETE", .path = PATH "/{name}", WRITES, .command = &subscriber_delete_command,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_STALE),
     .help = "Give a subscription up, and what waits for it"},
    {.method = "POST", .path = PATH "/{name}/rotate", WRITES, .command = &subscriber_rotate_command,
     .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_CONFLICT, ERR_STALE),
     .help = "A new secret; what is sent is signed with the old one, too, for a while"},
    {.method = "POST", .path = PATH "/{name}/test", .scope = "subscriptions:write",
     .traffic = CLASS_OPS, .command = &subscriber_test_command, .answer = &subscriber_tested_shape,
     .status = 202, .refusals = ROUTE_REFUSES(ERR_NOT_FOUND, ERR_STALE),
     .help = "Send a subscription an example event, whatever it wants"},
    {.method = NULL},
};
