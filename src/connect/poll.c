/* poll: see poll.h. Owns the polls of all connectors and intake.db. */
#include "connect/poll_priv.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "connect/expects.h"

const char *poll_state_name(enum poll_state state) {
    static const char *const names[] = {"unusable", "waiting", "running", "failing"};
    return names[state];
}

void poller_wake(struct poller *poller) {
    pthread_mutex_lock(&poller->answers_lock);
    if (poller->wake)
        poller->wake(poller->wake_ctx);
    pthread_mutex_unlock(&poller->answers_lock);
}

void poller_wake_set(struct poller *poller, void (*wake)(void *ctx), void *ctx) {
    pthread_mutex_lock(&poller->answers_lock);
    poller->wake = wake;
    poller->wake_ctx = ctx;
    pthread_mutex_unlock(&poller->answers_lock);
}

static void wake_any(void *ctx) { poller_wake(ctx); }

/* On the writer's thread. */
static void answered(struct command_origin *origin, struct command *first) {
    struct poller *poller = (struct poller *)((char *)origin - offsetof(struct poller, origin));
    struct command *last = first;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&poller->answers_lock);
    if (poller->answers)
        poller->answers_last->next = first;
    else
        poller->answers = first;
    poller->answers_last = last;
    if (poller->wake)
        poller->wake(poller->wake_ctx);
    pthread_mutex_unlock(&poller->answers_lock);
}

static void answers_drain(struct poller *poller) {
    pthread_mutex_lock(&poller->answers_lock);
    struct command *command = poller->answers;
    poller->answers = poller->answers_last = NULL;
    pthread_mutex_unlock(&poller->answers_lock);
    while (command) {
        struct command *next = command->next;
        item_answered(command->origin_ctx);
        command = next;
    }
}

enum err poller_net_wrap(struct poller *poller, bool own, struct fault *fault) {
    const struct settings *settings = &poller->options.config->settings;
    struct auth_net_options options = {
        .net = poller->net, .own = own, .keepers = poller->options.keepers, .accounts = poller->options.accounts,
        .limits = {.instructions_max = settings->map_instructions_max,
                   .bytes_max = settings->map_bytes_max},
        .wake = wake_any, .wake_ctx = poller};
    if (!options.keepers)
        options.keepers = poller->keepers = auth_keepers_create(&(struct auth_keepers_options){
            .clock = poller->options.clock, .rng = poller->options.rng});
    if (!options.keepers)
        return fault_set(fault, ERR_NOMEM, "no memory for polls");
    enum err err = auth_net_create(&options, &poller->net, fault);
    poller->own_wrap = err == OK && !own;
    return err;
}

/* --- making ---------------------------------------------------------------------------- */

static void stats_show(struct poller *poller);

enum err poller_create(const struct poller_options *options, struct poller **out,
                       struct fault *fault) {
    struct poller *poller = mem_zalloc(sizeof *poller);
    const struct settings *settings = &options->config->settings;
    if (!poller)
        return fault_set(fault, ERR_NOMEM, "no memory for polls");
    poller->options = *options;
    poller->options.connectors = connectors_take(options->connectors);
    poller->net = options->net;
    poller->origin.deliver = answered;
    pthread_mutex_init(&poller->lock, NULL);
    pthread_mutex_init(&poller->answers_lock, NULL);
    poller->parser = json_parser_create();
    poller->mapper = mapper_create((struct mapping_limits){
        .instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max});
    enum err err = poller->parser && poller->mapper
                       ? intake_open(options->path, options->vfs, &poller->intake, fault)
                       : fault_set(fault, ERR_NOMEM, "no memory for polls");
    if (err == OK)
        poller->expects = expects_create(options->core, options->clock, poller->intake, wake_any, poller);
    if (err == OK && !poller->expects)
        err = fault_set(fault, ERR_NOMEM, "no memory for polls");
    if (err == OK)
        err = polls_follow(poller, options->connectors, fault);
    if (err == OK && poller->net)
        err = poller_net_wrap(poller, false, fault);
    if (err != OK) {
        poller_destroy(poller);
        return err;
    }
    stats_show(poller);
    *out = poller;
    return OK;
}

void poller_destroy(struct poller *poller) {
    if (!poller)
        return;
    poller->stopping = true;
    if (poller->own_wrap)
        net_close(poller->net);
    polls_free(poller);
    expects_destroy(poller->expects);
    auth_keepers_destroy(poller->keepers);
    intake_close(poller->intake);
    mapper_destroy(poller->mapper);
    json_parser_destroy(poller->parser);
    pthread_mutex_destroy(&poller->lock);
    pthread_mutex_destroy(&poller->answers_lock);
    connectors_release(poller->options.connectors);
    connectors_release(poller->renewed);
    mem_free(poller);
}

/* --- one step ------------------------------------------------------------------------------ */

static void entry_step(struct poll_entry *entry, int64_t tick_us) {
    struct poller *poller = entry->poller;
    if (entry->state == ENTRY_ITEMS)
        items_go(entry);
    if (poller->stopping)
        return;
    entry_renew(entry);
    if (!poll_usable(entry))
        return;
    pthread_mutex_lock(&poller->lock);
    bool wanted = entry->wanted;
    if (entry->state == ENTRY_IDLE || entry->state == ENTRY_PAUSED)
        entry->wanted = false;
    pthread_mutex_unlock(&poller->lock);
    if (!wanted && entry->due_us > tick_us)
        return;
    if (entry->state == ENTRY_IDLE)
        round_begin(entry);
    else if (entry->state == ENTRY_PAUSED)
        round_call(entry);
}

static void stats_show(struct poller *poller) {
    int64_t now_us = clock_now_us(poller->options.clock), tick = clock_tick_us(poller->options.clock);
    pthread_mutex_lock(&poller->lock);
    for (uint32_t i = 0; i < poller->count; i++) {
        struct poll_entry *entry = poller->entries[i];
        struct poll_stats *stats = &entry->stats;
        bool rests = entry->state == ENTRY_IDLE || entry->state == ENTRY_PAUSED;
        stats->state = !poll_usable(entry)           ? POLL_UNUSABLE
                       : stats->in_a_row > 0    ? POLL_FAILING
                       : rests                  ? POLL_WAITING
                                                : POLL_RUNNING;
        stats->due_us = rests && poll_usable(entry) ? now_us + (entry->due_us > tick ? entry->due_us - tick : 0) : 0;
        stats->watermark[0] = '\0';
        if (entry->poll->watermark && entry->mark.known) {
            struct buf text;
            buf_init(&text, 1024);
            mark_write(entry->poll->watermark, &entry->mark, false, &text);
            snprintf(stats->watermark, sizeof stats->watermark, "%.*s", STR_FMT(buf_str(&text)));
            buf_free(&text);
        }
        entry->shown = *stats;
    }
    pthread_mutex_unlock(&poller->lock);
}

void poller_step(struct poller *poller) {
    int64_t tick_us = clock_tick_us(poller->options.clock);
    if (poller->net)
        auth_net_step(poller->net);
    answers_drain(poller);
    polls_renew(poller);
    for (uint32_t i = 0; i < poller->count; i++)
        entry_step(poller->entries[i], tick_us);
    if (!poller->stopping)
        expects_step(poller->expects, poller->options.connectors);
    stats_show(poller);
}

int64_t poller_next_us(const struct poller *poller) {
    int64_t next = poller->stopping ? INT64_MAX : expects_next_us(poller->expects);
    int64_t net_us = poller->net ? auth_net_next_us(poller->net) : INT64_MAX;
    next = net_us < next ? net_us : next;
    for (uint32_t i = 0; i < poller->count; i++) {
        const struct poll_entry *entry = poller->entries[i];
        int64_t due = INT64_MAX;
        if (entry->state == ENTRY_ITEMS && entry->blocked)
            due = entry->again_us;
        else if (entry->state == ENTRY_ITEMS && entry->busy == 0)
            due = 0;
        else if ((entry->state == ENTRY_IDLE || entry->state == ENTRY_PAUSED) && poll_usable(entry) &&
                 !poller->stopping)
            due = entry->due_us;
        next = due < next ? due : next;
    }
    return next;
}

/* --- seeing ---------------------------------------------------------------------------------- */

uint32_t poller_list(struct poller *poller, struct poll_stats *out, uint32_t max) {
    uint32_t n = 0;
    pthread_mutex_lock(&poller->lock);
    for (uint32_t i = 0; i < poller->count && n < max; i++)
        if (!poller->entries[i]->retired)
            out[n++] = poller->entries[i]->shown;
    pthread_mutex_unlock(&poller->lock);
    return n;
}

enum err poller_run(struct poller *poller, struct str connector, struct str topic,
                    struct fault *fault) {
    enum err err = ERR_NOT_FOUND;
    pthread_mutex_lock(&poller->lock);
    for (uint32_t i = 0; i < poller->count; i++) {
        struct poll_entry *entry = poller->entries[i];
        if (entry->retired || !str_eq(entry->shown.connector, connector) || !str_eq(entry->shown.topic, topic))
            continue;
        err = entry->shown.state == POLL_UNUSABLE || entry->shown.state == POLL_RUNNING ? ERR_CONFLICT
                                                                                       : OK;
        if (err == OK)
            entry->wanted = true;
        else
            fault_set(fault, err, entry->shown.state == POLL_RUNNING
                                      ? "the poll is under way"
                                      : "the poll is not usable: `penstock check` says what is missing");
    }
    pthread_mutex_unlock(&poller->lock);
    if (err == ERR_NOT_FOUND)
        return fault_set(fault, err, "no connector polls this");
    if (err == OK)
        poller_wake(poller);
    return err;
}

void poller_figures(struct poller *poller, struct metrics *out) {
    int64_t now_us = clock_now_us(poller->options.clock);
    pthread_mutex_lock(&poller->lock);
    for (uint32_t i = 0; i < poller->count; i++) {
        struct poll_entry *entry = poller->entries[i];
        const struct poll_stats *stats = &entry->shown;
        const struct str labels[] = {stats->connector, stats->topic};
        if (entry->retired)
            continue;
        metric_add(out, METRIC_POLL_ROUNDS, labels, stats->rounds);
        metric_add(out, METRIC_POLL_ITEMS, labels, stats->items);
        metric_add(out, METRIC_POLL_TAKEN, labels, stats->taken);
        metric_add(out, METRIC_POLL_FAILURES, labels, stats->failures);
        metric_add(out, METRIC_POLL_USABLE, labels, stats->state != POLL_UNUSABLE);
        if (stats->success_us > 0)
            metric_add(out, METRIC_POLL_LAG, labels, (uint64_t)(now_us - stats->success_us) / 1000000);
    }
    pthread_mutex_unlock(&poller->lock);
}
