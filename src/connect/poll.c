/* poll: see poll.h. Owns the polls of all connectors and intake.db. */
#include "connect/poll_priv.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

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
        .net = poller->net, .own = own, .keepers = poller->options.keepers,
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

static enum err mark_start(struct poll_entry *entry, struct fault *fault) {
    const struct connector_watermark *how = entry->poll->watermark;
    struct poller *poller = entry->poller;
    char value[INTAKE_VALUE_MAX + 1];
    bool known;
    enum err err = intake_load(poller->intake, entry->name, value, &known, fault);
    if (err || !how)
        return err;
    if (known && mark_load(how, str_c(value), &entry->mark))
        return OK;
    if (known)
        log_line(LOG_WARN, "connect", "the watermark of a poll is of another type: it starts again",
                 "poll=%.*s", STR_FMT(entry->name));
    mark_initial(how, clock_now_us(poller->options.clock), &entry->mark);
    if (!entry->mark.known)
        return OK;
    struct buf text; /* "now" is this moment, also after a restart */
    buf_init(&text, INTAKE_VALUE_MAX);
    mark_save(how, &entry->mark, &text);
    intake_set(poller->intake, entry->name, buf_str(&text));
    buf_free(&text);
    return intake_commit(poller->intake, fault);
}

static enum err entry_make(struct poll_entry *entry, struct poller *poller,
                           const struct connector_poll *poll, struct fault *fault) {
    const struct settings *settings = &poller->options.config->settings;
    char name[256];
    int len = snprintf(name, sizeof name, "%.*s/%.*s", STR_FMT(poll->connector->name),
                       STR_FMT(poll->topic));
    char *copy = mem_alloc((size_t)len + 1);
    entry->slots = mem_zalloc(POLL_SLOTS * sizeof *entry->slots);
    entry->poller = poller;
    entry->poll = poll;
    arena_init(&entry->arena, (size_t)settings->poll_answer_bytes_max * 8 + ARENA_CAP_DEFAULT);
    if (!copy || !entry->slots) {
        mem_free(copy);
        return fault_set(fault, ERR_NOMEM, "no memory for polls");
    }
    memcpy(copy, name, (size_t)len + 1);
    entry->name = str_of(copy, (size_t)len);
    for (uint32_t i = 0; i < POLL_SLOTS; i++) {
        entry->slots[i].entry = entry;
        arena_init(&entry->slots[i].arena, (size_t)settings->poll_answer_bytes_max * 4 +
                                               ARENA_CAP_DEFAULT);
    }
    entry->page_size = poll->pages->size;
    entry->round = 1;
    entry->stats.connector = poll->connector->name;
    entry->stats.topic = poll->topic;
    if (poll->missing.len > 0)
        log_line(LOG_WARN, "connect", "a poll is not usable: not set", "poll=%.*s missing=%s",
                 STR_FMT(entry->name), log_quote(poll->missing));
    enum err err = intake_number(poller->intake, entry->name, &entry->number, fault);
    return err ? err : mark_start(entry, fault);
}

static bool usable(const struct poll_entry *entry) {
    return entry->poll->enabled && entry->poll->missing.len == 0;
}

static enum err entries_make(struct poller *poller, struct fault *fault) {
    const struct connectors *connectors = poller->options.connectors;
    uint32_t count = 0;
    enum err err = OK;
    for (uint32_t i = 0; i < connectors->count; i++)
        count += connectors->items[i]->poll.count;
    poller->entries = mem_zalloc((count + 1) * sizeof *poller->entries);
    if (!poller->entries)
        return fault_set(fault, ERR_NOMEM, "no memory for polls");
    for (uint32_t i = 0; i < connectors->count; i++)
        for (uint32_t k = 0; err == OK && k < connectors->items[i]->poll.count; k++)
            err = entry_make(&poller->entries[poller->count++], poller,
                             list_at(connectors->items[i]->poll, struct connector_poll, k), fault);
    return err;
}

static void stats_show(struct poller *poller);

enum err poller_create(const struct poller_options *options, struct poller **out,
                       struct fault *fault) {
    struct poller *poller = mem_zalloc(sizeof *poller);
    const struct settings *settings = &options->config->settings;
    if (!poller)
        return fault_set(fault, ERR_NOMEM, "no memory for polls");
    poller->options = *options;
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
        err = entries_make(poller, fault);
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
    for (uint32_t i = 0; i < poller->count; i++) {
        struct poll_entry *entry = &poller->entries[i];
        for (uint32_t k = 0; entry->slots && k < POLL_SLOTS; k++)
            arena_free(&entry->slots[k].arena);
        arena_free(&entry->arena);
        mem_free(entry->slots);
        mem_free((char *)(uintptr_t)entry->name.ptr);
    }
    mem_free(poller->entries);
    auth_keepers_destroy(poller->keepers);
    intake_close(poller->intake);
    mapper_destroy(poller->mapper);
    json_parser_destroy(poller->parser);
    pthread_mutex_destroy(&poller->lock);
    pthread_mutex_destroy(&poller->answers_lock);
    mem_free(poller);
}

/* --- one step ------------------------------------------------------------------------------ */

static void entry_step(struct poll_entry *entry, int64_t tick_us) {
    struct poller *poller = entry->poller;
    if (entry->state == ENTRY_ITEMS)
        items_go(entry);
    if (poller->stopping || !usable(entry))
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
        struct poll_entry *entry = &poller->entries[i];
        struct poll_stats *stats = &entry->stats;
        bool rests = entry->state == ENTRY_IDLE || entry->state == ENTRY_PAUSED;
        stats->state = !usable(entry)           ? POLL_UNUSABLE
                       : stats->in_a_row > 0    ? POLL_FAILING
                       : rests                  ? POLL_WAITING
                                                : POLL_RUNNING;
        stats->due_us = rests && usable(entry) ? now_us + (entry->due_us > tick ? entry->due_us - tick : 0) : 0;
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
    for (uint32_t i = 0; i < poller->count; i++)
        entry_step(&poller->entries[i], tick_us);
    stats_show(poller);
}

int64_t poller_next_us(const struct poller *poller) {
    int64_t next = INT64_MAX;
    if (poller->net && auth_net_due(poller->net))
        return clock_tick_us(poller->options.clock);
    for (uint32_t i = 0; i < poller->count; i++) {
        const struct poll_entry *entry = &poller->entries[i];
        int64_t due = INT64_MAX;
        if (entry->state == ENTRY_ITEMS && entry->blocked)
            due = entry->again_us;
        else if (entry->state == ENTRY_ITEMS && entry->busy == 0)
            due = 0;
        else if ((entry->state == ENTRY_IDLE || entry->state == ENTRY_PAUSED) && usable(entry) &&
                 !poller->stopping)
            due = entry->due_us;
        next = due < next ? due : next;
    }
    return next;
}

/* --- seeing ---------------------------------------------------------------------------------- */

uint32_t poller_count(const struct poller *poller) { return poller->count; }

void poller_stats(struct poller *poller, uint32_t i, struct poll_stats *out) {
    pthread_mutex_lock(&poller->lock);
    *out = poller->entries[i].shown;
    pthread_mutex_unlock(&poller->lock);
}

enum err poller_run(struct poller *poller, struct str connector, struct str topic,
                    struct fault *fault) {
    enum err err = ERR_NOT_FOUND;
    pthread_mutex_lock(&poller->lock);
    for (uint32_t i = 0; i < poller->count; i++) {
        struct poll_entry *entry = &poller->entries[i];
        if (!str_eq(entry->shown.connector, connector) || !str_eq(entry->shown.topic, topic))
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
    for (uint32_t i = 0; i < poller->count; i++) {
        struct poll_stats stats;
        poller_stats(poller, i, &stats);
        struct poll_entry *entry = &poller->entries[i];
        const struct str labels[] = {stats.connector, stats.topic};
        metric_add(out, METRIC_POLL_ROUNDS, labels, counter_read(&entry->rounds_total));
        metric_add(out, METRIC_POLL_ITEMS, labels, counter_read(&entry->items_total));
        metric_add(out, METRIC_POLL_TAKEN, labels, counter_read(&entry->taken_total));
        metric_add(out, METRIC_POLL_FAILURES, labels, counter_read(&entry->failures_total));
        metric_add(out, METRIC_POLL_USABLE, labels, stats.state != POLL_UNUSABLE);
        if (stats.success_us > 0)
            metric_add(out, METRIC_POLL_LAG, labels, (uint64_t)(now_us - stats.success_us) / 1000000);
    }
}
