/* fetcher: a system that fetches its events (deliver/pull.h): leases a few, does the work, acknowledges:
 * in time, late, twice, or gives back; and sometimes it dies with what it has. What it has done it knows;
 * what it acknowledged it is never to see again. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "deliver/pull.h"
#include "domain/subscribers.h"
#include "sim.h"

#define NAME "fetcher"
#define LEASES_MAX 24

struct leased {
    char lease[48];
    uint64_t seq;
};

struct fetcher {
    struct sim *sim;
    struct command_origin origin; /* of the command that makes the subscription */
    struct arena arena;
    struct command command;
    bool making;
    struct pull_ask ask;
    bool asking;
    struct str texts[LEASES_MAX];
    struct leased acked[LEASES_MAX]; /* by the ask under way */
    uint32_t acked_count;
    struct leased leased[LEASES_MAX];
    uint32_t count;
    struct leased last; /* acknowledged lately: said once more */
};

/* --- making it -------------------------------------------------------------------------------- */

static void made(struct command_origin *origin, struct command *first) {
    struct fetcher *f = (struct fetcher *)((char *)origin - offsetof(struct fetcher, origin));
    (void)first;
    f->making = false;
    arena_reset(&f->arena);
}

/* As the state of the hub has it; NULL: it is not made. To be released. */
static const struct subscriber_entry *entry_of(struct sim *sim) {
    core_read_begin(sim->core);
    const struct subscriber_entry *entry =
        subscriber_find(core_state(sim->core, &subscribers_capability), STR(NAME));
    core_read_end(sim->core);
    return entry;
}

static bool there(struct fetcher *f) {
    const struct subscriber_entry *entry = entry_of(f->sim);
    subscriber_release(entry);
    return entry != NULL;
}

void fetcher_observe(struct sim *sim) {
    const struct subscriber_entry *entry = entry_of(sim);
    if (entry)
        observe(sim, "{\"fetcher\":{\"name\":\"%.*s\",\"events\":[\"stock.*\"],\"after\":%lld}}",
                STR_FMT(entry->doc.delivery), (long long)entry->doc.after);
    subscriber_release(entry);
}

static void make(struct fetcher *f) {
    struct sim *sim = f->sim;
    struct fault fault = {0};
    const struct json *json;
    void *body;
    struct str text = STR("{\"name\":\"" NAME "\",\"kind\":\"pull\",\"events\":[\"stock.*\"]}");
    if (f->making || !core_ready(sim->core))
        return;
    if (json_parse(sim->parser, &f->arena, text, false, &json, &fault) != OK ||
        shape_decode(&subscriber_shape, json, &f->arena, STR(""), &body, &fault) != OK)
        violate(sim, "fetcher", "%s", fault.detail);
    const struct command_type *type = registry_command(core_registry(sim->core), STR("subscriber.create"));
    must(type);
    if (command_prepare(sim->core, type, &f->arena, body, &f->command, &fault) != OK) {
        arena_reset(&f->arena); /* the disk */
        return;
    }
    f->origin.deliver = made;
    f->command.actor = STR(NAME);
    f->command.origin = &f->origin;
    f->making = core_submit(sim->core, &f->command, &fault) == OK;
    if (!f->making)
        arena_reset(&f->arena);
}

/* --- asking ------------------------------------------------------------------------------------- */

static void taken(struct fetcher *f) {
    struct sim *sim = f->sim;
    struct fault fault = {0};
    const struct json *doc;
    if (json_parse(sim->parser, &sim->arena, buf_str(&f->ask.answer), false, &doc, &fault) != OK)
        violate(sim, "fetcher", "the answer is no JSON: %s", fault.detail);
    const struct json *items = json_member(doc, STR("items")), *item = json_first(items);
    for (uint32_t i = 0; i < items->count; i++, item = json_next(item)) {
        const struct json *event = json_member(item, STR("event"));
        int64_t seq = 0;
        must(event && json_i64(json_member(event, STR("penstockseq")), &seq));
        observe(sim, "{\"fetched\":{\"seq\":%lld,\"lane\":\"%.*s\"}}", (long long)seq,
                STR_FMT(json_member_str(event, STR("subject"))));
        if (f->count == LEASES_MAX)
            f->count = 0; /* it dies */
        struct leased *leased = &f->leased[f->count++];
        *leased = (struct leased){.seq = (uint64_t)seq};
        snprintf(leased->lease, sizeof leased->lease, "%.*s", STR_FMT(json_member_str(item, STR("lease"))));
    }
}

static void answered(struct pull_ask *ask) {
    struct fetcher *f = ask->ctx;
    f->asking = false;
    if (ask->err == OK && !f->sim->dying && ask->what == PULL_TAKE)
        taken(f);
    for (uint32_t i = 0; ask->err == OK && !f->sim->dying && ask->what == PULL_ACK && i < f->acked_count; i++)
        observe(f->sim, "{\"fetch_acked\":{\"seq\":%llu}}", (unsigned long long)f->acked[i].seq);
    buf_free(&ask->answer);
}

static void ask(struct fetcher *f, enum pull_what what, int64_t max) {
    struct fault fault = {0};
    f->ask = (struct pull_ask){.what = what, .name = STR(NAME), .max = max, .delay_s = -1,
                               .lease_s = 1 + (int64_t)chance(f->sim, 30), .leases = f->texts,
                               .lease_count = f->acked_count, .done = answered, .ctx = f};
    buf_init(&f->ask.answer, 0);
    f->asking = pull_submit(f->sim->deliver, &f->ask, &fault) == OK;
    if (f->asking)
        deliver_step(f->sim->deliver);
    else
        buf_free(&f->ask.answer);
}

/* One that it has, or one that it acknowledged already; false: there is none. */
static bool pick(struct fetcher *f) {
    f->acked_count = 0;
    if (f->last.seq != 0 && chance(f->sim, 4) == 0)
        f->acked[f->acked_count++] = f->last;
    else if (f->count > 0)
        f->acked[f->acked_count++] = f->leased[chance(f->sim, f->count)];
    for (uint32_t i = 0; i < f->acked_count; i++)
        f->texts[i] = str_c(f->acked[i].lease);
    return f->acked_count > 0;
}

static void drop(struct fetcher *f, uint64_t seq) {
    for (uint32_t i = 0; i < f->count; i++)
        if (f->leased[i].seq == seq)
            f->leased[i--] = f->leased[--f->count];
}

static void acknowledge(struct fetcher *f) {
    if (!pick(f))
        return;
    for (uint32_t i = 0; i < f->acked_count; i++) {
        observe(f->sim, "{\"fetch_done\":{\"seq\":%llu}}", (unsigned long long)f->acked[i].seq);
        f->last = f->acked[i];
        drop(f, f->acked[i].seq);
    }
    ask(f, PULL_ACK, 0);
}

void fetcher_step(struct sim *sim) {
    struct fetcher *f = sim->fetcher;
    if (f->asking || !sim->up)
        return;
    if (!there(f)) {
        make(f);
        return;
    }
    uint64_t dice = chance(sim, 20);
    if (dice < 8) {
        f->acked_count = 0;
        ask(f, PULL_TAKE, 1 + (int64_t)chance(sim, 4));
    } else if (dice < 17) {
        acknowledge(f);
    } else if (dice == 17 && pick(f)) {
        drop(f, f->acked[0].seq);
        ask(f, PULL_NACK, 0);
    } else if (dice == 18 && pick(f)) {
        ask(f, PULL_EXTEND, 0);
    } else if (dice == 19) {
        f->count = 0; /* it died */
    }
}

void fetcher_settle(struct sim *sim) {
    struct fetcher *f = sim->fetcher;
    if (!there(f))
        return;
    for (int i = 0; i < 8 && !f->asking; i++) {
        f->acked_count = 0;
        ask(f, PULL_TAKE, 4);
        while (f->count > 0 && !f->asking)
            acknowledge(f);
    }
}

void fetcher_lost(struct sim *sim) {
    sim->fetcher->making = false;
    arena_reset(&sim->fetcher->arena);
}

struct fetcher *fetcher_create(struct sim *sim) {
    struct fetcher *f = mem_zalloc(sizeof *f);
    must(f);
    f->sim = sim;
    arena_init(&f->arena, 0);
    return f;
}

void fetcher_destroy(struct fetcher *f) {
    arena_free(&f->arena);
    mem_free(f);
}

bool fetcher_has(struct str subscription) { return str_starts(subscription, STR(NAME ":")); }
