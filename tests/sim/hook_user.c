/* hook_user: one who has a webhook made for him through the API (domain/subscribers.h): another one of his name
 * now and then, of other types and subjects, with what is personal or without, elsewhere, with another secret; he
 * stops and starts it, has sent again what is held, and gives it up. Answers are lost on the way; who does not
 * know his secret asks for another one.
 *
 * Always true: of each user one command is under way. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "deliver/subscribers.h"
#include "domain/subscribers.h"
#include "hook.h"

#define MADE_MAX 10 /* of one user: each has its place in delivery until the hub ends */
#define HELD_MAX 64
#define HURRY_US 5000000 /* between two times that he has all that waits sent at once */

static const char *const acts[] = {"subscriber.create", "subscriber.change", "subscriber.rotate",
                                   "subscriber.delete", "subscriber.test"};

/* As GET shows it; NULL: there is none. To be released. */
static const struct subscriber_entry *entry_of(const struct hook_user *user) {
    struct sim *sim = user->sim;
    core_read_begin(sim->core);
    const struct subscriber_entry *entry =
        subscriber_find(core_state(sim->core, &subscribers_capability), str_c(user->name));
    core_read_end(sim->core);
    return entry;
}

/* --- secrets -------------------------------------------------------------------------------------- */

const struct hook_secret *hook_secret_at(const struct hook_user *user, uint32_t i) {
    return i < user->secret_count && i < HOOK_SECRETS ? &user->secrets[i] : NULL;
}

static bool secret_known(const struct hook_user *user, const struct subscriber *doc) {
    const struct subscriber_key *newest = list_at(doc->secrets, struct subscriber_key, doc->secrets.count - 1);
    for (uint32_t i = 0; hook_secret_at(user, i); i++)
        if (str_is(newest->id, hook_secret_at(user, i)->id))
            return true;
    return false;
}

static void secret_keep(struct hook_user *user, const struct json *doc) {
    const struct json *keys = json_member(doc, STR("secrets")), *key = keys ? json_first(keys) : NULL;
    struct str text = json_member_str(doc, STR("secret"));
    struct hook_secret *secret = &user->secrets[user->secret_count++ % HOOK_SECRETS];
    for (uint32_t i = 1; key && i < keys->count; i++)
        key = json_next(key);
    if (!key || !text.ptr)
        violate(user->sim, "hook-secret", "%s was told no secret", user->name);
    snprintf(secret->id, sizeof secret->id, "%.*s", STR_FMT(json_member_str(key, STR("id"))));
    snprintf(secret->text, sizeof secret->text, "%.*s", STR_FMT(text));
    observe(user->sim, "{\"hook_secret\":{\"id\":\"%s\"}}", secret->id);
}

/* --- commands --------------------------------------------------------------------------------------- */

static void told(struct hook_user *user, struct command *command) {
    static const char *const said[] = {"created", "changed", "rotated", "deleted", "tested"};
    struct sim *sim = user->sim;
    struct fault fault = {0};
    const struct json *doc;
    int64_t version = 0;
    if (command_unfinished(command) && command_finish(sim->reader, command, &fault) != OK)
        return;
    if (json_parse(sim->parser, &user->arena, command->answer.body, false, &doc, &fault) != OK)
        violate(sim, "hook", "%s was answered no JSON: %s", user->name, fault.detail);
    if (user->act == HOOK_TEST)
        return;
    must(json_i64(json_member(doc, STR("version")), &version));
    observe(sim, "{\"hook_said\":{\"what\":\"subscriber.%s\",\"name\":\"%s\",\"version\":%lld,\"delivery\":\"%.*s\"}}",
            said[user->act], user->name, (long long)version, STR_FMT(json_member_str(doc, STR("delivery"))));
    if (user->act == HOOK_CREATE || user->act == HOOK_ROTATE)
        secret_keep(user, doc);
}

static void answered(struct command_origin *origin, struct command *first) {
    struct hook_user *user = (struct hook_user *)origin;
    bool lost = user->sim->dying || (!user->sim->hooks->well && chance(user->sim, 12) == 0);
    if (!lost && first->answer.err == OK)
        told(user, first);
    user->pending = false;
    arena_reset(&user->arena);
}

static void ask(struct hook_user *user, enum hook_act act, struct str text) {
    struct sim *sim = user->sim;
    struct fault fault = {0};
    const struct json *json;
    const struct command_type *type = registry_command(core_registry(sim->core), str_c(acts[act]));
    void *body = NULL;
    if (user->pending || !core_ready(sim->core))
        return;
    must(type);
    text = arena_str(&user->arena, text);
    if (type->shape && (json_parse(sim->parser, &user->arena, text, false, &json, &fault) != OK ||
                        shape_decode(type->shape, json, &user->arena, STR(""), &body, &fault) != OK))
        violate(sim, "hook", "%.*s: %s", STR_FMT(text), fault.detail);
    list_line(sim, "%s: %s %.*s", user->name, acts[act], STR_FMT(text));
    if (command_prepare(sim->core, type, &user->arena, body, &user->command, &fault) != OK) {
        arena_reset(&user->arena); /* the disk */
        return;
    }
    user->act = act;
    user->origin.deliver = answered;
    user->command.args[0] = str_c(user->name);
    user->command.if_match = -1;
    user->command.actor = str_c(user->name);
    user->command.may_personal = chance(sim, 5) > 0;
    user->command.origin = &user->origin;
    user->pending = core_submit(sim->core, &user->command, &fault) == OK;
    if (!user->pending)
        arena_reset(&user->arena);
}

/* --- what he asks for --------------------------------------------------------------------------------- */

static const char *events_of(struct sim *sim) {
    static const char *const wanted[] = {
        "[\"order.*\"]", "[\"order.captured\"]", "[\"order.captured\",\"order.cancelled\",\"customer.*\"]",
        "[\"stock.*\"]", "[\"stock.adjusted\",\"stock.counted\",\"order.shipped\"]", "[\"order.*\",\"stock.received\"]",
    };
    return wanted[chance(sim, sizeof wanted / sizeof *wanted)];
}

static void url_write(struct hook_user *user, struct buf *out) {
    buf_printf(out, "\"url\":\"https://%s.example/%llu\"", user->name, (unsigned long long)++user->sim->hooks->number);
}

static void keys_write(struct sim *sim, struct buf *out) {
    if (chance(sim, 4) > 0)
        buf_lit(out, ",\"keys\":[]");
    else
        buf_printf(out, ",\"keys\":[\"SKU-%u@*\",\"ord_*\",\"SKU-2@WH-HAM\"]", (unsigned)chance(sim, 4));
}

static void make(struct hook_user *user) {
    struct sim *sim = user->sim;
    struct buf out;
    if (user->made >= MADE_MAX || user->pending || !core_ready(sim->core))
        return;
    user->made++;
    buf_init(&out, 0);
    buf_printf(&out, "{\"name\":\"%s\",", user->name);
    url_write(user, &out);
    buf_printf(&out, ",\"events\":%s,\"personal\":%s", events_of(sim), chance(sim, 3) ? "false" : "true");
    keys_write(sim, &out);
    if (chance(sim, 3) == 0) /* from what has been on */
        buf_printf(&out, ",\"after\":%llu", (unsigned long long)chance(sim, core_seq(sim->core) + 1));
    buf_char(&out, '}');
    ask(user, HOOK_CREATE, buf_str(&out));
    buf_free(&out);
}

static void change(struct hook_user *user) {
    struct sim *sim = user->sim;
    struct buf out;
    buf_init(&out, 0);
    buf_char(&out, '{');
    switch (chance(sim, 4)) {
    case 0: buf_printf(&out, "\"events\":%s", events_of(sim)); break;
    case 1: buf_printf(&out, "\"personal\":%s", chance(sim, 2) ? "true" : "false"); break;
    case 2: url_write(user, &out); break;
    default:
        buf_printf(&out, "\"events\":%s", events_of(sim));
        keys_write(sim, &out);
    }
    buf_char(&out, '}');
    ask(user, HOOK_CHANGE, buf_str(&out));
    buf_free(&out);
}

static void rotate(struct hook_user *user) {
    static const char *const overlaps[] = {"{\"overlap_s\":0}", "{\"overlap_s\":2}", "{\"overlap_s\":60}", "{}"};
    ask(user, HOOK_ROTATE, str_c(overlaps[chance(user->sim, 4)]));
}

/* --- stopping and starting -------------------------------------------------------------------------- */

static void switched(struct hook_user *user) {
    if (user->switching.waiting && user->switching.wish.done)
        user->switching.waiting = false;
}

static void do_switch(struct hook_user *user, const struct subscription *sub, bool start) {
    struct sim *sim = user->sim;
    struct decision_pending *pending = &user->switching;
    switched(user);
    if (pending->waiting || sim->deliver->failed)
        return;
    snprintf(pending->subscription, sizeof pending->subscription, "%.*s", STR_FMT(sub->name));
    pending->wish = (struct wish){.subscription = str_c(pending->subscription), .by = str_c(user->name),
                                  .reason = STR("looked at it"), .kind = start ? WISH_START : WISH_STOP,
                                  .fault = &pending->fault};
    pending->waiting = true;
    if (start) /* it may go on before he has his answer */
        observe(sim, "{\"hook_start\":{\"delivery\":\"%s\"}}", pending->subscription);
    list_line(sim, "%s %s", start ? "start" : "stop", pending->subscription);
    pending->wish.next = sim->deliver->wishes;
    sim->deliver->wishes = &pending->wish;
    deliver_step(sim->deliver);
    switched(user);
}

/* --- recovering ------------------------------------------------------------------------------------- */

struct held_seen {
    struct str delivery;
    uint64_t seqs[HELD_MAX];
    uint32_t count;
};
static bool held_see(void *ctx, const struct progress_row *row) {
    struct held_seen *held = ctx;
    bool lost = row->cause.ptr && str_starts(row->cause, STR("edit")); /* it can not be sent: held again at once */
    if (str_eq(row->subscription, held->delivery) && progress_row_held(row) && !lost && held->count < HELD_MAX)
        held->seqs[held->count++] = row->seq;
    return true;
}

static bool time_see(void *ctx, const struct record *record) {
    *(int64_t *)ctx = record->time_us;
    return false;
}
/* When it was recorded; -1: the disk does not say. */
static int64_t recorded_us(struct sim *sim, uint64_t seq) {
    struct fault fault = {0};
    int64_t us = -1;
    uint64_t next;
    return tail_read(sim->tail, seq, 1, time_see, &us, &next, &fault) == OK ? us : -1;
}

/* Of what was held, nothing that he asked for is held still. */
static void recover_check(struct hook_user *user, const struct held_seen *before, uint64_t since_seq,
                          int64_t since_us) {
    struct sim *sim = user->sim;
    struct fault fault = {0};
    struct held_seen now = {.delivery = before->delivery};
    if (sim->deliver->failed ||
        deliver_held(sim->deliver, STR_NONE, 0, 1000, held_see, &now, &fault) != OK)
        return;
    for (uint32_t i = 0; i < before->count; i++)
        for (uint32_t k = 0; k < now.count; k++)
            if (now.seqs[k] == before->seqs[i] && now.seqs[k] >= since_seq &&
                (since_us == 0 || recorded_us(sim, now.seqs[k]) >= since_us))
                violate(sim, "hook-recover", "%.*s: seq %llu is still held after all was recovered from %llu on",
                        STR_FMT(before->delivery), (unsigned long long)now.seqs[k], (unsigned long long)since_seq);
}

static void recover(struct hook_user *user, const struct subscription *sub, bool all) {
    struct sim *sim = user->sim;
    struct held_seen before = {.delivery = sub->name};
    struct fault fault = {0};
    uint64_t since_seq = 0, recovered;
    int64_t since_us = 0;
    bool more;
    if (sim->deliver->failed || deliver_held(sim->deliver, STR_NONE, 0, 1000, held_see, &before, &fault) != OK ||
        before.count == 0)
        return;
    if (!all && chance(sim, 3) == 0)
        since_us = recorded_us(sim, before.seqs[chance(sim, before.count)]);
    else if (!all && chance(sim, 2) == 0)
        since_seq = before.seqs[chance(sim, before.count)];
    if (since_us < 0)
        return;
    enum err err = subscriber_recover(sim->deliver, sub->name, since_seq, since_us, str_c(user->name), &recovered,
                                      &more, &fault);
    list_line(sim, "recover %.*s from %llu: %s", STR_FMT(sub->name), (unsigned long long)since_seq,
              err == OK ? "done" : fault.detail);
    if (err == OK && !more && !vfs_fault_crashed(sim->disk))
        recover_check(user, &before, since_seq, since_us);
}

/* --- life ------------------------------------------------------------------------------------------- */

/* As delivery follows it; NULL: it does not yet. */
static struct subscription *followed(const struct hook_user *user, const struct subscriber *doc) {
    struct subscription *sub = subscription_named(user->sim->deliver, doc->delivery);
    return sub && !sub->retired && sub->lanes ? sub : NULL;
}

static void act(struct hook_user *user, const struct subscriber *doc) {
    struct sim *sim = user->sim;
    struct subscription *sub = followed(user, doc);
    uint64_t dice = chance(sim, 40);
    if (sub && sub->stop.stopped && chance(sim, 3) == 0)
        do_switch(user, sub, true);
    else if (!secret_known(user, doc) && chance(sim, 3) == 0)
        rotate(user);
    else if (dice < 8)
        change(user);
    else if (dice < 14)
        rotate(user);
    else if (dice < 19)
        ask(user, HOOK_DELETE, STR("{}"));
    else if (dice < 22)
        ask(user, HOOK_TEST, STR("{}"));
    else if (dice < 24 && sub && !sub->stop.stopped)
        do_switch(user, sub, false);
    else if (dice < 34 && sub)
        recover(user, sub, false);
}

void hook_user_step(struct hook_user *user) {
    switched(user);
    if (user->pending || !user->sim->up)
        return;
    const struct subscriber_entry *entry = entry_of(user);
    if (entry)
        act(user, &entry->doc);
    else
        make(user);
    subscriber_release(entry);
}

/* Everything goes at once when it is changed: it does not wait for hours. */
static void hurry(struct hook_user *user) {
    if (user->sim->tick_us < user->hurried_us)
        return;
    user->hurried_us = user->sim->tick_us + HURRY_US;
    ask(user, HOOK_CHANGE, STR("{\"description\":\"well again\"}"));
}

static bool settled(struct hook_user *user, const struct subscriber *doc) {
    struct sim *sim = user->sim;
    struct subscription *sub = followed(user, doc);
    if (!sub || sim->deliver->failed || user->switching.waiting)
        return false;
    if (!secret_known(user, doc)) {
        rotate(user);
        return false;
    }
    if (sub->stop.stopped) {
        do_switch(user, sub, true);
        return false;
    }
    if (!user->recovered) {
        user->recovered = true;
        recover(user, sub, true);
        return false;
    }
    struct lane_counts counts = lanes_counts(sub->lanes);
    if (counts.out == 0 && (counts.waiting > 0 || counts.broken || counts.parked > 0))
        hurry(user);
    return !user->pending;
}

bool hook_user_settle(struct hook_user *user) {
    switched(user);
    if (user->pending)
        return false;
    const struct subscriber_entry *entry = entry_of(user);
    bool rest = entry == NULL || settled(user, &entry->doc);
    subscriber_release(entry);
    return rest;
}

void hook_user_lost(struct hook_user *user) {
    user->pending = user->switching.waiting = false;
    arena_reset(&user->arena);
}

void hook_user_init(struct hook_user *user, struct sim *sim, const char *name) {
    user->sim = sim;
    user->name = name;
    arena_init(&user->arena, 0);
}
