/* subscribers: see subscribers.h. Shapes, events and commands; the entries are in
 * subscribers_state.c, the questions in subscribers_routes.c. */
#include "domain/subscribers_priv.h"

#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "core/core.h"

static const char *const kinds[] = {"webhook", "pull", NULL};
static const char *const states[] = {"active", "stopped", NULL};

static const struct shape_field key_rows[] = {
    [SUBSCRIBER_KEY_ID] = SHAPE_ROW(struct subscriber_key, id, SHAPE_ID, "Which secret"),
    [SUBSCRIBER_KEY_SINCE] = SHAPE_ROW(struct subscriber_key, since, SHAPE_INSTANT, "When it was made"),
    [SUBSCRIBER_KEY_UNTIL] = SHAPE_ROW(struct subscriber_key, until, SHAPE_INSTANT,
                                       "From when on nothing is signed with it; absent: the newest"),
};
static SHAPE_DEFINE(subscriber_key_shape, "subscription_secret", struct subscriber_key,
                    "A secret that what is sent is signed with", key_rows);

#define HUB_SET(member_, kind_, help_, ...)                                                        \
    SHAPE_ROW(struct subscriber, member_, kind_, help_, .flags = SHAPE_READ_ONLY, .owner = "hub",  \
              ##__VA_ARGS__)
#define WANTS                                                                                      \
    [SUBSCRIBER_EVENTS] = SHAPE_ROW(struct subscriber, events, SHAPE_LIST,                         \
                                    "Types of events, as \"order.captured\" or \"order.*\"",       \
                                    .flags = SHAPE_REQUIRED, .min = 1, .max = SUBSCRIBER_EVENTS_MAX)
static const struct shape_field subscriber_rows[] = {
    [SUBSCRIBER_NAME] = SHAPE_ROW(struct subscriber, name, SHAPE_CODE, "What it is called",
                                  .flags = SHAPE_REQUIRED, .max = SUBSCRIBER_NAME_MAX),
    [SUBSCRIBER_KIND] = SHAPE_ROW(struct subscriber, kind, SHAPE_ENUM,
                                  "webhook: events are posted to `url`; pull: they are fetched and "
                                  "acknowledged (webhook)", .values = kinds),
    [SUBSCRIBER_URL] = SHAPE_ROW(struct subscriber, url, SHAPE_TEXT,
                                 "Where to, https; no private address", .min = 1, .max = 2048),
    WANTS,
    [SUBSCRIBER_KEYS] = SHAPE_ROW(struct subscriber, keys, SHAPE_LIST,
                                  "Only events about these, as \"ord_01…\" or \"SKU-1@*\"; left out: "
                                  "about anything", .max = SUBSCRIBER_KEYS_MAX),
    [SUBSCRIBER_PERSONAL] = SHAPE_ROW(struct subscriber, personal, SHAPE_BOOL,
                                      "Whether it may see what is personal; who says so needs "
                                      "personal:read (false)"),
    [SUBSCRIBER_OWNER] = SHAPE_ROW(struct subscriber, owner, SHAPE_CODE,
                                   "The team that is told when it fails"),
    [SUBSCRIBER_DESCRIPTION] = SHAPE_ROW(struct subscriber, description, SHAPE_TEXT, "What it is for",
                                         .max = 1024),
    [SUBSCRIBER_AFTER] = SHAPE_ROW(struct subscriber, after, SHAPE_INTEGER,
                                   "Events with a greater seq are for it (those from now on)",
                                   .min = 0, .max = INT64_MAX),
    [SUBSCRIBER_STATE] = HUB_SET(state, SHAPE_ENUM,
                                 "stopped: what it wants waits in the journal until it is started; in "
                                 "events it is left out", .values = states),
    [SUBSCRIBER_STOPPED_AS] = HUB_SET(stopped, SHAPE_OBJECT,
                                      "Since when and why it stands still; absent: it does not",
                                      .shape = &stopped_shape),
    [SUBSCRIBER_DELIVERY] = HUB_SET(delivery, SHAPE_CODE,
                                    "What it is called among the deliveries (/ops/subscriptions, /ops/held)"),
    [SUBSCRIBER_CREATED_BY] = HUB_SET(created_by, SHAPE_TEXT, "Who made it"),
    [SUBSCRIBER_CREATED_AT] = HUB_SET(created_at, SHAPE_INSTANT, "When it was made"),
    [SUBSCRIBER_CHANGED_AT] = HUB_SET(changed_at, SHAPE_INSTANT, "When it was changed last"),
    [SUBSCRIBER_VERSION] = HUB_SET(version, SHAPE_INTEGER, "Counted up with every change"),
    [SUBSCRIBER_SECRETS] = HUB_SET(secrets, SHAPE_LIST, "What is signed with, oldest first",
                                   .shape = &subscriber_key_shape, .max = SUBSCRIBER_SECRETS_MAX),
    [SUBSCRIBER_SECRET] = HUB_SET(secret, SHAPE_TEXT,
                                  "The new secret, in the answer that made it alone: keep it",
                                  .privacy = SECRET),
};
SHAPE_DEFINE(subscriber_shape, "subscription_made", struct subscriber,
             "A subscription made through the API", subscriber_rows);

/* Body of PATCH: what is absent stays. */
static const struct shape_field change_rows[] = {
    SHAPE_ROW(struct subscriber, url, SHAPE_TEXT, "Where to, https; no private address", .min = 1,
              .max = 2048),
    SHAPE_ROW(struct subscriber, events, SHAPE_LIST, "Types of events, as \"order.captured\" or \"order.*\"",
              .min = 1, .max = SUBSCRIBER_EVENTS_MAX),
    SHAPE_ROW(struct subscriber, keys, SHAPE_LIST, "Only events about these; an empty list: about anything",
              .max = SUBSCRIBER_KEYS_MAX),
    SHAPE_ROW(struct subscriber, personal, SHAPE_BOOL,
              "Whether it may see what is personal; true needs personal:read"),
    SHAPE_ROW(struct subscriber, owner, SHAPE_CODE, "The team that is told when it fails"),
    SHAPE_ROW(struct subscriber, description, SHAPE_TEXT, "What it is for", .max = 1024),
};
enum { CHANGE_URL, CHANGE_EVENTS, CHANGE_KEYS, CHANGE_PERSONAL, CHANGE_OWNER, CHANGE_DESCRIPTION };
static SHAPE_DEFINE(change_shape, "subscription_change", struct subscriber,
                    "What is to be different; what is left out stays", change_rows);

struct rotate {
    uint64_t has;
    int64_t overlap_s;
};
static const struct shape_field rotate_rows[] = {
    SHAPE_ROW(struct rotate, overlap_s, SHAPE_INTEGER,
              "Seconds in which what is sent is signed with the old secret, too (86400)", .min = 0,
              .max = 2592000),
};
static SHAPE_DEFINE(rotate_shape, "subscription_rotate", struct rotate, "A new secret", rotate_rows);

struct tested {
    uint64_t has;
    struct str name, message;
};
static const struct shape_field tested_rows[] = {
    SHAPE_ROW(struct tested, name, SHAPE_CODE, "The subscription it is for"),
    SHAPE_ROW(struct tested, message, SHAPE_TEXT, "Words"),
};
SHAPE_DEFINE(subscriber_tested_shape, "subscription_test", struct tested, "An example", tested_rows);

enum err subscriber_show(const struct subscriber *doc, const void *stops, struct arena *arena,
                         struct subscriber *out) {
    struct stopped stopped;
    *out = *doc;
    out->state = SUBSCRIBER_ACTIVE;
    shape_mark(out, SUBSCRIBER_STATE);
    if (!stops_find(stops, doc->delivery, &stopped))
        return OK;
    out->state = SUBSCRIBER_STOPPED;
    out->stopped = stopped_doc_make(&stopped, arena);
    shape_mark(out, SUBSCRIBER_STOPPED_AS);
    return out->stopped ? OK : ERR_NOMEM;
}

/* --- events ---------------------------------------------------------------------------------- */

static enum err put_apply(struct state *state, const struct event *event) {
    return subscriber_put(state, event->data, event->seq);
}
/* What stood still of it stands nowhere any more. */
static enum err drop_apply(struct state *state, const struct event *event) {
    enum err err = subscriber_drop(state, event->subject);
    return err == OK ? stops_forget(state, ((const struct subscriber *)event->data)->delivery) : err;
}
#define CHANGED(sym, name_, help_)                                                                 \
    {.name = name_, .shape = &subscriber_shape, .apply = put_apply, .help = help_}
static const struct event_type created_event =
    CHANGED(created, "subscriber.created", "Someone made a subscription");
static const struct event_type changed_event =
    CHANGED(changed, "subscriber.changed", "A subscription is to get something else, or elsewhere");
static const struct event_type rotated_event =
    CHANGED(rotated, "subscriber.rotated", "A subscription has a new secret");
const struct event_type subscriber_deleted_event = {
    .name = "subscriber.deleted", .shape = &subscriber_shape, .apply = drop_apply,
    .help = "A subscription is gone; what waited for it is given up"};
static const struct event_type tested_event = {
    .name = EVENT_SUBSCRIBER_TESTED, .shape = &subscriber_tested_shape,
    .help = "An example for one subscription alone"};
static const struct event_type *const subscriber_events[] = {
    &created_event, &changed_event, &rotated_event, &subscriber_deleted_event, &tested_event, NULL};

/* --- decisions ------------------------------------------------------------------------------- */

static const struct subscriber_entry *asked(struct decision *decision, const struct command *command,
                                            enum err *err) {
    const struct subscriber_entry *entry =
        subscriber_now(decision_state(decision, &subscribers_capability), command->args[0]);
    struct str name = command->args[0];
    *err = OK;
    if (!entry)
        *err = decision_refuse(decision, ERR_NOT_FOUND, "there is no subscription %.*s",
                               (int)(name.len < 64 ? name.len : 64), name.ptr);
    else if (command->if_match >= 0 && command->if_match != entry->doc.version)
        *err = decision_refuse(decision, ERR_STALE, "its version is %lld",
                               (long long)entry->doc.version);
    return *err == OK ? entry : NULL;
}

/* The next version of it, to be changed further. */
static struct subscriber *next_of(struct decision *decision, const struct command *command,
                                  const struct event_type *type, const struct subscriber_entry *old) {
    struct subscriber *doc;
    struct arena *arena = decision_arena(decision);
    struct str subject = arena_str(arena, old->doc.name);
    if (!subject.ptr || !decision_event(decision, type, subject, (void **)&doc) ||
        !subscriber_copy(arena, &old->doc, doc))
        return NULL;
    doc->version++;
    doc->changed_at = (struct instant){.us = command->now_us - command->now_us % 1000};
    shape_mark(doc, SUBSCRIBER_CHANGED_AT);
    return doc;
}
static enum err no_memory(struct decision *decision) {
    return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
}
static enum err shown_answer(struct decision *decision, int status, const struct subscriber *doc) {
    struct subscriber *shown = arena_new(decision_arena(decision), struct subscriber);
    if (!shown || subscriber_show(doc, decision_state(decision, &stops_capability),
                                  decision_arena(decision), shown) != OK)
        return no_memory(decision);
    return decision_answer(decision, status, &subscriber_shape, shown);
}

/* One more secret; the one before counts for overlap_s more, and what has ended goes. */
static bool secret_add(struct decision *decision, const struct command *command, int64_t overlap_s,
                       struct subscriber *doc) {
    struct arena *arena = decision_arena(decision);
    const struct subscriber_key *old = doc->secrets.items;
    struct subscriber_key *keys = arena_array(arena, SUBSCRIBER_SECRETS_MAX, sizeof *keys);
    int64_t now_us = command->now_us - command->now_us % 1000;
    uint32_t count = 0, from = 0;
    if (!keys)
        return false;
    if (doc->secrets.count >= SUBSCRIBER_SECRETS_MAX)
        from = doc->secrets.count - SUBSCRIBER_SECRETS_MAX + 1;
    for (uint32_t i = from; i < doc->secrets.count; i++) {
        struct subscriber_key key = old[i];
        if (!shape_has(&key, SUBSCRIBER_KEY_UNTIL)) {
            key.until = (struct instant){.us = now_us + overlap_s * 1000000};
            shape_mark(&key, SUBSCRIBER_KEY_UNTIL);
        }
        if (key.until.us > now_us)
            keys[count++] = key;
    }
    struct subscriber_key *key = &keys[count++];
    *key = (struct subscriber_key){.has = 1u << SUBSCRIBER_KEY_ID | 1u << SUBSCRIBER_KEY_SINCE,
                                   .id = id_text(arena, "sec_", command->id),
                                   .since = {.us = now_us}};
    doc->secrets = (struct shape_list){keys, count};
    shape_mark(doc, SUBSCRIBER_SECRETS);
    return key->id.ptr != NULL;
}

static enum err personal_check(struct decision *decision, const struct command *command) {
    if (command->may_personal)
        return OK;
    return decision_refuse(decision, ERR_FORBIDDEN,
                           "a subscription that sees what is personal is made by who has the scope "
                           SCOPE_PERSONAL);
}

static enum err create_decide(struct decision *decision, const struct command *command) {
    const struct subscribers_state *s = decision_state(decision, &subscribers_capability);
    const struct subscriber *given = command->body;
    int64_t max = decision_config(decision)->settings.subscriptions_max;
    struct arena *arena = decision_arena(decision);
    if (subscriber_now(s, given->name))
        return decision_refuse(decision, ERR_CONFLICT, "there is a subscription %.*s already",
                               STR_FMT(given->name));
    if (s->count >= max)
        return decision_refuse(decision, ERR_CONFLICT, "there are %lld subscriptions, and no more may be "
                               "(subscriptions_max)", (long long)max);
    if (given->personal && personal_check(decision, command) != OK)
        return ERR_FORBIDDEN;
    struct subscriber *doc;
    if (!decision_event(decision, &created_event, given->name, (void **)&doc))
        return no_memory(decision);
    *doc = *given;
    uint64_t seq = decision_seq(decision);
    if (!shape_has(doc, SUBSCRIBER_AFTER))
        doc->after = (int64_t)seq;
    doc->delivery = arena_printf(arena, "%.*s:%llu", STR_FMT(given->name), (unsigned long long)seq);
    doc->created_by = command->actor;
    doc->created_at = doc->changed_at = (struct instant){.us = command->now_us - command->now_us % 1000};
    doc->version = 1;
    doc->has |= 1u << SUBSCRIBER_KIND | 1u << SUBSCRIBER_PERSONAL | 1u << SUBSCRIBER_AFTER |
                1u << SUBSCRIBER_DELIVERY | 1u << SUBSCRIBER_CREATED_AT | 1u << SUBSCRIBER_CHANGED_AT |
                1u << SUBSCRIBER_VERSION;
    if (doc->created_by.ptr)
        shape_mark(doc, SUBSCRIBER_CREATED_BY);
    if (!doc->delivery.ptr ||
        (doc->kind == SUBSCRIBER_WEBHOOK && !secret_add(decision, command, 0, doc)))
        return no_memory(decision);
    return shown_answer(decision, 201, doc);
}

static void change_apply(struct subscriber *doc, const struct subscriber *given) {
    if (shape_has(given, CHANGE_URL))
        doc->url = given->url;
    if (shape_has(given, CHANGE_EVENTS))
        doc->events = given->events;
    if (shape_has(given, CHANGE_KEYS)) {
        doc->keys = given->keys;
        shape_mark(doc, SUBSCRIBER_KEYS);
    }
    if (shape_has(given, CHANGE_PERSONAL))
        doc->personal = given->personal;
    if (shape_has(given, CHANGE_OWNER)) {
        doc->owner = given->owner;
        shape_mark(doc, SUBSCRIBER_OWNER);
    }
    if (shape_has(given, CHANGE_DESCRIPTION)) {
        doc->description = given->description;
        shape_mark(doc, SUBSCRIBER_DESCRIPTION);
    }
}

/* Who sends a subscription that sees what is personal elsewhere must be allowed to see it. */
static enum err change_decide(struct decision *decision, const struct command *command) {
    const struct subscriber *given = command->body;
    enum err err;
    const struct subscriber_entry *old = asked(decision, command, &err);
    if (!old)
        return err;
    bool personal = shape_has(given, CHANGE_PERSONAL) ? given->personal : old->doc.personal;
    if (personal && personal_check(decision, command) != OK)
        return ERR_FORBIDDEN;
    if (shape_has(given, CHANGE_URL) && old->doc.kind != SUBSCRIBER_WEBHOOK)
        return decision_fault(decision, ERR_INVALID, STR("url"), "is of webhooks alone");
    struct subscriber *doc = next_of(decision, command, &changed_event, old);
    if (!doc)
        return no_memory(decision);
    change_apply(doc, given);
    return shown_answer(decision, 200, doc);
}

static enum err delete_decide(struct decision *decision, const struct command *command) {
    enum err err;
    const struct subscriber_entry *old = asked(decision, command, &err);
    struct subscriber *doc = old ? next_of(decision, command, &subscriber_deleted_event, old) : NULL;
    if (!old)
        return err;
    return doc ? shown_answer(decision, 200, doc) : no_memory(decision);
}

static enum err rotate_decide(struct decision *decision, const struct command *command) {
    const struct rotate *given = command->body;
    enum err err;
    const struct subscriber_entry *old = asked(decision, command, &err);
    if (!old)
        return err;
    if (old->doc.kind != SUBSCRIBER_WEBHOOK)
        return decision_refuse(decision, ERR_CONFLICT, "only webhooks have secrets");
    struct subscriber *doc = next_of(decision, command, &rotated_event, old);
    if (!doc || !secret_add(decision, command, given->has ? given->overlap_s : 86400, doc))
        return no_memory(decision);
    return shown_answer(decision, 200, doc);
}

bool subscriber_followed(const struct decision *decision, struct str delivery) {
    const struct subscribers_state *s = decision_state(decision, &subscribers_capability);
    bool found = false;
    for (uint32_t i = 0; i < s->count && !found; i++)
        found = str_eq(s->items[i]->entry.doc.delivery, delivery);
    return found;
}

static enum err test_decide(struct decision *decision, const struct command *command) {
    struct tested *tested;
    enum err err;
    const struct subscriber_entry *old = asked(decision, command, &err);
    if (!old)
        return err;
    struct str name = arena_str(decision_arena(decision), old->doc.name);
    if (!name.ptr || !decision_event(decision, &tested_event, name, (void **)&tested))
        return no_memory(decision);
    *tested = (struct tested){.has = 3, .name = name,
                              .message = STR("An example: nothing has happened")};
    return decision_answer(decision, 202, &subscriber_tested_shape, tested);
}

/* --- checks ---------------------------------------------------------------------------------- */

static void events_check(const struct shape_list *events, struct fault *fault) {
    for (uint32_t i = 0; i < events->count; i++) {
        struct str type = *list_at(*events, struct str, i);
        char pointer[32];
        int len = snprintf(pointer, sizeof pointer, "/events/%u", i);
        if (event_private(type) || str_is(type, EVENT_SUBSCRIBER_TESTED))
            fault_add(fault, str_of(pointer, (size_t)len),
                      "what the hub writes about itself goes to no subscription");
    }
}

static void url_check(const struct command_context *context, struct str url, struct fault *fault) {
    const char *wrong = subscriber_url_wrong(url, context->config->settings.webhooks_private != 0);
    if (wrong)
        fault_add(fault, STR("/url"), "%s", wrong);
}

static enum err create_check(const struct command_context *context, void *body, struct arena *arena,
                             struct fault *fault) {
    const struct subscriber *doc = body;
    (void)arena;
    events_check(&doc->events, fault);
    if (doc->kind == SUBSCRIBER_WEBHOOK && !doc->url.ptr)
        fault_add(fault, STR("/url"), "is missing: where is it to be posted to?");
    else if (doc->kind != SUBSCRIBER_WEBHOOK && doc->url.ptr)
        fault_add(fault, STR("/url"), "is of webhooks alone: what is pulled is fetched");
    else if (doc->url.ptr)
        url_check(context, doc->url, fault);
    return fault->count ? ERR_INVALID : OK;
}

static enum err change_check(const struct command_context *context, void *body, struct arena *arena,
                             struct fault *fault) {
    const struct subscriber *doc = body;
    (void)arena;
    events_check(&doc->events, fault);
    if (doc->url.ptr)
        url_check(context, doc->url, fault);
    return fault->count ? ERR_INVALID : OK;
}

/* --- secrets --------------------------------------------------------------------------------- */

/* Two blocks of a keyed permutation (seal.h) of what names the secret. Fingerprints of documents are
 * made by the same key and stand in the journal: what goes in here is hidden first, so that no
 * document can be made whose fingerprint is a part of a secret. */
struct str subscriber_secret_make(struct keyring *keyring, struct str delivery, struct str id,
                                  struct arena *arena) {
    struct str named = arena_printf(arena, "%.*s %.*s", STR_FMT(delivery), STR_FMT(id));
    struct hash128 parts[2];
    struct hash128 hide = hash128(STR("subscription secrets"), 1);
    if (!named.ptr)
        return STR_NONE;
    if (keyring)
        hide = keyring->ops->blind(keyring, hide);
    for (uint64_t i = 0; i < 2; i++) {
        struct hash128 one = hash128(named, i + 1);
        one.lo ^= hide.lo;
        one.hi ^= hide.hi + i;
        parts[i] = keyring ? keyring->ops->blind(keyring, one) : one;
    }
    struct buf out;
    buf_init(&out, 256);
    buf_lit(&out, "whsec_");
    base64_write(&out, str_of((const char *)parts, sizeof parts));
    struct str secret = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return secret;
}

/* The answer that made a secret shows it: the journal has the answer without. */
static enum err secret_finish(struct reader *reader, struct command *command, struct fault *fault) {
    struct arena *arena = command->arena;
    const struct json *doc;
    struct answer *answer = &command->answer;
    enum err err = json_parse(reader->parser, arena, answer->body, false, &doc, fault);
    if (err != OK || !json_member(doc, STR("secrets")))
        return err;
    struct str secret = subscriber_secret_make(core_keyring(reader->core),
                                               json_member_str(doc, STR("delivery")),
                                               id_text(arena, "sec_", command->id), arena);
    if (!secret.ptr)
        return OK;
    answer->body = arena_printf(arena, "%.*s,\"secret\":\"%.*s\"}", (int)answer->body.len - 1,
                                answer->body.ptr, STR_FMT(secret));
    return answer->body.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for the answer");
}

const struct command_type subscriber_create_command = {
    .name = "subscriber.create", .shape = &subscriber_shape, .check = create_check,
    .decide = create_decide, .finish = secret_finish, .help = "Make a subscription"};
const struct command_type subscriber_change_command = {
    .name = "subscriber.change", .shape = &change_shape, .check = change_check,
    .decide = change_decide, .help = "Change what a subscription gets, and where"};
const struct command_type subscriber_delete_command = {
    .name = "subscriber.delete", .decide = delete_decide, .help = "Give a subscription up"};
const struct command_type subscriber_rotate_command = {
    .name = "subscriber.rotate", .shape = &rotate_shape, .decide = rotate_decide,
    .finish = secret_finish, .help = "Give a subscription a new secret"};
const struct command_type subscriber_test_command = {
    .name = "subscriber.test", .decide = test_decide, .help = "Send a subscription an example"};
static const struct command_type *const subscriber_commands[] = {
    &subscriber_create_command, &subscriber_change_command, &subscriber_delete_command,
    &subscriber_rotate_command, &subscriber_test_command, NULL};

static const struct entity_kind *const subscriber_entities[] = {&subscriber_entity, NULL};

const struct capability subscribers_capability = {
    .name = "subscribers",
    .help = "Subscriptions that others make",
    .commands = subscriber_commands,
    .events = subscriber_events,
    .routes = subscriber_routes,
    .entities = subscriber_entities,
    .state_size = sizeof(struct subscribers_state),
    .state_init = subscribers_init,
    .state_free = subscribers_free,
    .memory = subscribers_memory,
    .publish = subscribers_publish,
    .dump = subscribers_dump,
};
