/* replay: see replay.h. This file owns replays in memory: counting, reading ahead, putting what may go
 * into lanes, positions. */
#include "deliver/replay_priv.h"
#include "deliver/subscribers.h"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "deliver/replay_shapes.h"
#include "domain/replays.h"

/* --- which there are ------------------------------------------------------------------------- */

static void window_free(struct replay_job *job) {
    for (uint32_t i = 0; job->window && i < REPLAY_WINDOW; i++)
        mem_free(job->window[i].key);
    mem_free(job->window);
    job->window = NULL;
    job->first = job->count = job->out = 0;
    replay_keys_destroy(job->keys);
    job->keys = NULL;
    job->mapped = false;
}

static void job_free(struct replay_job *job) {
    window_free(job);
    mem_free(job->types);
    arena_free(&job->arena);
    mem_free(job);
}

struct replay_job *replay_find(const struct deliver *d, uint64_t id) {
    for (uint32_t i = d->replays.count; i > 0; i--)
        if (d->replays.items[i - 1]->row.id == (int64_t)id)
            return d->replays.items[i - 1];
    return NULL;
}

void replay_pick(struct subscription *sub) {
    const struct replays *all = &sub->deliver->replays;
    sub->replay = NULL;
    for (uint32_t i = 0; i < all->count && !sub->replay; i++) {
        struct replay_job *job = all->items[i];
        if (!replay_over(&job->row) && job->row.state != REPLAY_PAUSED &&
            str_eq(job->row.subscription, sub->name))
            sub->replay = job;
    }
}

/* A list in memory that grows with what is found: once it is over, it is the row's for good. */
static struct replay_type *types_room(struct replay_job *job) {
    if (job->types == NULL)
        job->types = mem_zalloc(REPLAY_TYPES_MAX * sizeof *job->types);
    return job->types;
}

static bool job_texts(struct replay_job *job, const struct replay *from) {
    struct str *const texts[] = {&job->row.subscription, &job->row.type,   &job->row.key,
                                 &job->row.correlation,  &job->row.connector, &job->row.by,
                                 &job->row.reason,       &job->row.error};
    bool good = types_room(job) != NULL;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (texts[i]->ptr == NULL)
            continue;
        *texts[i] = arena_str(&job->arena, *texts[i]);
        good = good && texts[i]->ptr != NULL;
    }
    job->row.types = (struct shape_list){job->types, 0};
    for (uint32_t i = 0; good && i < from->types.count && i < REPLAY_TYPES_MAX; i++) {
        job->types[i] = *list_at(from->types, struct replay_type, i);
        job->types[i].type = arena_str(&job->arena, job->types[i].type);
        good = job->types[i].type.ptr != NULL;
        job->row.types.count++;
    }
    return good;
}

struct replay_job *replay_add(struct deliver *d, const struct replay *row) {
    struct replays *all = &d->replays;
    struct replay_job *job = mem_zalloc(sizeof *job);
    if (job == NULL)
        return NULL;
    arena_init(&job->arena, 65536);
    job->row = *row;
    job->read_to = (uint64_t)row->position;
    if (!job_texts(job, row) || !MEM_ROOM(all->items, all->count, all->cap, 16)) {
        job_free(job);
        return NULL;
    }
    all->items[all->count++] = job;
    if (row->id > all->last_id)
        all->last_id = row->id;
    return job;
}

void replay_drop(struct deliver *d, struct replay_job *job) {
    struct replays *all = &d->replays;
    for (uint32_t i = 0; i < all->count; i++)
        if (all->items[i] == job) {
            memmove(all->items + i, all->items + i + 1, (all->count - i - 1) * sizeof *all->items);
            all->count--;
            break;
        }
    for (uint32_t i = 0; i < d->count; i++)
        if (d->subs[i]->replay == job)
            replay_pick(d->subs[i]);
    job_free(job);
}

void replays_free(struct deliver *d) {
    struct replays *all = &d->replays;
    for (uint32_t i = 0; i < all->count; i++)
        job_free(all->items[i]);
    mem_free(all->items);
    json_parser_destroy(all->parser);
    arena_free(&all->arena);
    *all = (struct replays){0};
}

struct loading {
    struct deliver *d;
    enum err err;
    struct fault *fault;
};

/* It is counted from the beginning. */
static void count_none(struct replay *r) {
    if (r->state != REPLAY_COUNTING && r->state != REPLAY_PAUSED)
        return;
    r->chosen = r->first_seq = r->last_seq = 0;
    r->types.count = 0;
}

static bool load_row(void *ctx, struct str body) {
    struct loading *loading = ctx;
    struct replays *all = &loading->d->replays;
    const struct json *json;
    void *row;
    enum err err = json_parse(all->parser, &all->arena, body, false, &json, loading->fault);
    if (err == OK)
        err = shape_load(&replay_shape, json, &all->arena, &row, loading->fault);
    if (err == OK && !((struct replay *)row)->began)
        count_none(row);
    if (err == OK && replay_add(loading->d, row) == NULL)
        err = fault_set(loading->fault, ERR_NOMEM, "no memory for a replay");
    loading->err = err;
    return err == OK;
}

enum err replays_load(struct deliver *d, struct fault *fault) {
    replays_free(d);
    arena_init(&d->replays.arena, 0);
    d->replays.parser = json_parser_create();
    if (d->replays.parser == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for replays");
    struct loading loading = {.d = d, .fault = fault};
    enum err err = progress_replays(d->progress, load_row, &loading, fault);
    arena_reset(&d->replays.arena);
    for (uint32_t i = 0; i < d->count; i++)
        replay_pick(d->subs[i]);
    return err != OK ? err : loading.err;
}

bool replays_dirty(const struct deliver *d) {
    for (uint32_t i = 0; i < d->replays.count; i++)
        if (d->replays.items[i]->dirty)
            return true;
    return false;
}

void replays_save(struct deliver *d) {
    struct buf body;
    buf_init(&body, 0);
    for (uint32_t i = 0; i < d->replays.count; i++) {
        struct replay_job *job = d->replays.items[i];
        if (!job->dirty)
            continue;
        buf_clear(&body);
        shape_encode(&replay_shape, &job->row, &body);
        if (!buf_ok(&body))
            continue; /* stays dirty */
        progress_replay_set(d->progress, job->row.id, buf_str(&body));
        job->dirty = false;
    }
    buf_free(&body);
}

void replay_state_set(struct replay_job *job, enum replay_state state) {
    job->row.state = state;
    job->dirty = true;
    if (replay_over(&job->row)) {
        job->row.waiting = 0;
        window_free(job);
    }
}

static void job_over(struct subscription *sub, struct replay_job *job, enum replay_state state) {
    struct deliver *d = sub->deliver;
    job->row.ended_at = (struct instant){.us = clock_now_us(d->options.clock)};
    shape_mark(&job->row, REPLAY_ENDED_AT);
    replay_state_set(job, state);
    replay_pick(sub);
    log_line(LOG_INFO, "deliver", "replay is over",
             "subscription=%.*s replay=%lld chosen=%lld sent=%lld found=%lld held=%lld superseded=%lld",
             STR_FMT(sub->name), (long long)job->row.id, (long long)job->row.chosen,
             (long long)job->row.sent, (long long)job->row.found, (long long)job->row.held,
             (long long)job->row.superseded);
    pthread_cond_broadcast(&d->decided);
}

static void job_failed(struct subscription *sub, struct replay_job *job, const char *why) {
    job->row.error = arena_str(&job->arena, str_c(why));
    shape_mark(&job->row, REPLAY_ERROR);
    job_over(sub, job, REPLAY_FAILED);
    replay_tell(sub, job, DELIVERY_REPLAY_FAILED, STR_NONE, job->row.error, false);
}

/* --- counting -------------------------------------------------------------------------------- */

static void count_one(struct replay_job *job, const struct record *record) {
    struct replay *r = &job->row;
    r->chosen++;
    if (r->first_seq == 0)
        r->first_seq = (int64_t)record->seq;
    r->last_seq = (int64_t)record->seq;
    uint32_t i = 0;
    while (i < r->types.count && !str_eq(job->types[i].type, record->type))
        i++;
    if (i == REPLAY_TYPES_MAX)
        return;
    if (i == r->types.count) {
        job->types[i] = (struct replay_type){.has = 3, .type = arena_str(&job->arena, record->type)};
        if (job->types[i].type.ptr == NULL)
            return;
        r->types.count++;
    }
    job->types[i].events++;
}

struct reading {
    struct subscription *sub;
    struct replay_job *job;
    uint64_t to;
    bool full, failed;
};

static bool scan_record(void *ctx, const struct record *record) {
    struct reading *reading = ctx;
    struct replay_job *job = reading->job;
    struct subscription *sub = reading->sub;
    struct replays *all = &sub->deliver->replays;
    if (record->seq > reading->to)
        return false;
    job->scanned = record->seq;
    if (!send_takes(sub->send, record))
        return true;
    bool chosen = replay_chosen(&job->row, record, all->parser, &all->arena);
    arena_reset(&all->arena);
    if (chosen && job->row.state == REPLAY_COUNTING)
        count_one(job, record);
    if (job->keys == NULL)
        return true;
    char own[24];
    struct str key = subscription_key(sub, record, own);
    if (!chosen)
        replay_keys_saw(job->keys, key, record->seq);
    else if (!replay_keys_add(job->keys, key, record->seq))
        reading->failed = true;
    return !reading->failed;
}

static uint64_t scan_begin(const struct replay_job *job) {
    const struct replay *r = &job->row;
    uint64_t from = r->from_seq > 1 ? (uint64_t)r->from_seq - 1 : 0;
    return (uint64_t)r->position > from ? (uint64_t)r->position : from;
}

static void count_done(struct subscription *sub, struct replay_job *job) {
    struct replay *r = &job->row;
    job->mapped = true;
    if (r->state != REPLAY_COUNTING)
        return;
    if (job->keys != NULL)
        r->chosen = replay_keys_chosen(job->keys);
    const uint64_t counted = UINT64_C(1) << REPLAY_CHOSEN | UINT64_C(1) << REPLAY_FIRST_SEQ |
                             UINT64_C(1) << REPLAY_LAST_SEQ | UINT64_C(1) << REPLAY_TYPES;
    r->has |= counted;
    if (r->dry_run)
        job_over(sub, job, REPLAY_COUNTED);
    else
        replay_state_set(job, REPLAY_STARTING);
}

/* False: what comes next is in an archive that is being unpacked; later. */
static bool journal_is_near(const struct subscription *sub, struct replay_job *job, uint64_t seq) {
    if (tail_near(sub->deliver->options.tail, seq, true))
        return true;
    job->read_us = clock_tick_us(sub->deliver->options.clock) + DELIVER_COLD_US;
    return false;
}

/* One part of it. What is known of the newest of each key must reach as far as the live stream is read. */
static void scan(struct subscription *sub, struct replay_job *job) {
    struct deliver *d = sub->deliver;
    const struct settings *settings = &d->options.config->settings;
    if (job->row.newest && job->keys == NULL) {
        job->keys = replay_keys_create((uint32_t)settings->replay_keys_max);
        if (job->keys == NULL)
            return; /* later */
    }
    if (job->row.state != REPLAY_COUNTING && job->keys == NULL) {
        job->mapped = true;
        return;
    }
    if (job->scanned < scan_begin(job))
        job->scanned = scan_begin(job);
    struct reading reading = {.sub = sub, .job = job,
                              .to = job->keys ? lanes_read_to(sub->lanes) : (uint64_t)job->row.last};
    if (job->keys && reading.to < (uint64_t)job->row.last)
        reading.to = (uint64_t)job->row.last;
    uint64_t next;
    struct fault fault = {0};
    enum err err = OK;
    if (job->scanned < reading.to && !journal_is_near(sub, job, job->scanned + 1))
        return;
    if (job->scanned < reading.to)
        err = tail_read(d->options.tail, job->scanned + 1, REPLAY_READ_RECORDS, scan_record, &reading,
                        &next, &fault);
    if (reading.failed) {
        char why[160];
        snprintf(why, sizeof why, "more than %lld keys (replay_keys_max): replay fewer at once",
                 (long long)settings->replay_keys_max);
        job_failed(sub, job, why);
    } else if (err != OK) {
        job_failed(sub, job, fault.detail);
    } else if (!job->mapped && job->scanned >= reading.to) {
        count_done(sub, job);
    }
}

/* --- sending --------------------------------------------------------------------------------- */

static struct replay_entry *entry_at(const struct replay_job *job, uint32_t i) {
    return &job->window[(job->first + i) % REPLAY_WINDOW];
}

static struct replay_entry *entry_of(const struct replay_job *job, uint64_t seq) {
    for (uint32_t i = 0; job->window && i < job->count; i++)
        if (entry_at(job, i)->seq == seq)
            return entry_at(job, i);
    return NULL;
}

/* What is settled in front of all else is counted, and never looked at again. */
static void window_trim(struct subscription *sub, struct replay_job *job) {
    struct replay *r = &job->row;
    while (job->count > 0 && entry_at(job, 0)->state > ENTRY_OUT) {
        const struct replay_entry *entry = entry_at(job, 0);
        int64_t *const counts[] = {[ENTRY_SENT] = &r->sent, [ENTRY_FOUND] = &r->found,
                                   [ENTRY_HELD] = &r->held, [ENTRY_SUPERSEDED] = &r->superseded};
        (*counts[entry->state])++;
        counter_add(&sub->replayed[entry->state - ENTRY_SENT], 1);
        r->position = (int64_t)entry->seq;
        job->first = (job->first + 1) % REPLAY_WINDOW;
        job->count--;
        job->dirty = true;
    }
    if (job->count == 0 && r->position < (int64_t)job->read_to) {
        r->position = (int64_t)job->read_to;
        job->dirty = true;
    }
}

static bool row_is(void *ctx, const struct progress_row *row) {
    uint64_t *seq = ctx;
    *seq = row->seq;
    return false;
}

/* Held or parked itself: it goes when its lane goes. */
static bool listed_itself(struct subscription *sub, uint64_t seq) {
    struct lane_counts counts = lanes_counts(sub->lanes);
    uint64_t found = 0;
    struct fault ignored = {0};
    if (counts.held + counts.parked == 0)
        return false;
    return progress_rows(sub->deliver->progress, sub->name, sub->name, seq - 1, false, 1, row_is, &found,
                         &ignored) == OK && found == seq;
}

static bool read_record(void *ctx, const struct record *record) {
    struct reading *reading = ctx;
    struct replay_job *job = reading->job;
    struct subscription *sub = reading->sub;
    struct replays *all = &sub->deliver->replays;
    if (record->seq > reading->to)
        return false;
    bool chosen = send_takes(sub->send, record) &&
                  replay_chosen(&job->row, record, all->parser, &all->arena);
    arena_reset(&all->arena);
    if (chosen) {
        char own[24];
        struct str key = subscription_key(sub, record, own);
        struct replay_entry *entry = entry_at(job, job->count);
        if (entry->key_cap < key.len || entry->key == NULL) {
            uint32_t cap = key.len < 32 ? 32 : (uint32_t)key.len;
            char *bytes = mem_resize(entry->key, cap);
            if (bytes == NULL)
                return false; /* later */
            entry->key = bytes;
            entry->key_cap = cap;
        }
        if (key.len > 0)
            memcpy(entry->key, key.ptr, key.len);
        entry->key_len = (uint32_t)key.len;
        entry->seq = record->seq;
        entry->state = listed_itself(sub, record->seq) ? ENTRY_HELD : ENTRY_WAITS;
        job->count++;
    }
    job->read_to = record->seq;
    return job->count < REPLAY_WINDOW;
}

/* What the live stream is done with, so far. */
static uint64_t read_limit(const struct subscription *sub, const struct replay_job *job) {
    uint64_t cursor = lanes_cursor(sub->lanes), last = (uint64_t)job->row.last;
    return cursor < last ? cursor : last;
}

static void window_fill(struct subscription *sub, struct replay_job *job) {
    struct deliver *d = sub->deliver;
    struct reading reading = {.sub = sub, .job = job, .to = read_limit(sub, job)};
    uint64_t next;
    struct fault fault = {0};
    if (job->window == NULL)
        job->window = mem_zalloc(REPLAY_WINDOW * sizeof *job->window);
    if (job->read_to < scan_begin(job))
        job->read_to = scan_begin(job);
    if (job->window == NULL || job->count == REPLAY_WINDOW || job->read_to >= reading.to ||
        !journal_is_near(sub, job, job->read_to + 1))
        return;
    if (tail_read(d->options.tail, job->read_to + 1, REPLAY_READ_RECORDS, read_record, &reading, &next,
                  &fault) != OK)
        job_failed(sub, job, fault.detail);
}

/* False: later. A mistake to be caught: it goes out beside the live ones of its key. */
static bool entry_start(struct subscription *sub, struct replay_job *job, struct replay_entry *entry) {
    struct str key = str_of(entry->key, entry->key_len);
    char beside[300];
    if (PLANTED(REPLAY_LIVE))
        key = str_of(beside, (size_t)snprintf(beside, sizeof beside, "%.*s+", STR_FMT(key)));
    return lanes_replay(sub->lanes, entry->seq, key, (uint64_t)job->row.id, !job->row.again);
}

static void window_go(struct subscription *sub, struct replay_job *job, int64_t now_us) {
    uint32_t share = sub->send->limits->concurrency > 2 ? (uint32_t)sub->send->limits->concurrency / 2 : 1;
    int64_t rate = job->row.rate_per_s;
    int64_t waiting = 0;
    job->due_us = INT64_MAX; /* what waits for a lane goes on when something ends */
    for (uint32_t i = 0; i < job->count; i++) {
        struct replay_entry *entry = entry_at(job, i);
        if (entry->state != ENTRY_WAITS)
            continue;
        if (job->keys && !replay_keys_newest(job->keys, str_of(entry->key, entry->key_len), entry->seq)) {
            entry->state = ENTRY_SUPERSEDED;
            continue;
        }
        if (job->out >= share)
            break;
        if (rate > 0 && now_us < job->next_send_us) {
            job->due_us = job->next_send_us;
            break;
        }
        if (!entry_start(sub, job, entry)) {
            waiting++;
            continue;
        }
        entry->state = ENTRY_OUT;
        job->out++;
        if (rate > 0) { /* a burst of what a tenth of a second allows, then evenly */
            int64_t earliest = now_us - 100000;
            job->next_send_us =
                (job->next_send_us > earliest ? job->next_send_us : earliest) + 1000000 / rate;
        }
    }
    job->row.waiting = waiting;
    shape_mark(&job->row, REPLAY_WAITING);
}

static void run(struct subscription *sub, struct replay_job *job, int64_t now_us) {
    scan(sub, job);
    if (sub->replay != job || !job->mapped)
        return;
    if (job->keys && job->scanned < lanes_read_to(sub->lanes))
        return; /* first what is newer */
    window_fill(sub, job);
    if (sub->replay != job)
        return;
    window_go(sub, job, now_us);
    window_trim(sub, job);
    if (job->count == 0 && job->row.position >= job->row.last)
        replay_state_set(job, REPLAY_ENDING);
}

void replay_step(struct subscription *sub, int64_t now_us) {
    struct replay_job *job = sub->replay;
    if (job == NULL || sub->deliver->stopping || sub->deliver->failed)
        return;
    pthread_mutex_lock(&sub->deliver->lock);
    if (job->row.state == REPLAY_COUNTING)
        scan(sub, job);
    else if (job->row.state == REPLAY_RUNNING)
        run(sub, job, now_us);
    if (sub->replay == job && !job->telling && job->row.state == REPLAY_STARTING)
        job->telling = replay_tell(sub, job, DELIVERY_REPLAY_STARTED, job->row.by, job->row.reason, true);
    else if (sub->replay == job && !job->telling && job->row.state == REPLAY_ENDING)
        job->telling = replay_tell(sub, job, DELIVERY_REPLAY_DONE, job->row.by, STR_NONE, true);
    pthread_mutex_unlock(&sub->deliver->lock);
}

int64_t replay_next_us(const struct subscription *sub, int64_t now_us) {
    const struct replay_job *job = sub->replay;
    if (job == NULL)
        return INT64_MAX;
    int64_t read_us = job->read_us > now_us ? job->read_us : now_us;
    if (job->row.state == REPLAY_COUNTING)
        return read_us;
    if (job->row.state == REPLAY_STARTING || job->row.state == REPLAY_ENDING)
        return job->telling ? INT64_MAX : now_us + DELIVER_AGAIN_MS * 1000;
    if (!job->mapped || (job->keys && job->scanned < lanes_read_to(sub->lanes)) ||
        (job->count < REPLAY_WINDOW && job->read_to < read_limit(sub, job)))
        return read_us < job->due_us || job->due_us <= now_us ? read_us : job->due_us;
    return job->due_us;
}

/* --- what becomes of them ---------------------------------------------------------------------- */

static void entry_ended(struct subscription *sub, uint64_t replay, uint64_t seq, int state) {
    struct replay_job *job = replay_find(sub->deliver, replay);
    struct replay_entry *entry = job ? entry_of(job, seq) : NULL;
    if (entry == NULL || entry->state != ENTRY_OUT)
        return; /* cancelled meanwhile, or listed before */
    entry->state = state;
    job->out--;
    window_trim(sub, job);
}

void replay_delivered(struct subscription *sub, uint64_t replay, uint64_t seq, bool found) {
    entry_ended(sub, replay, seq, found ? ENTRY_FOUND : ENTRY_SENT);
}

void replay_listed(struct subscription *sub, uint64_t replay, uint64_t seq) {
    entry_ended(sub, replay, seq, ENTRY_HELD);
}

bool replay_again(const struct deliver *d, uint64_t replay) {
    const struct replay_job *job = replay ? replay_find(d, replay) : NULL;
    return job != NULL && job->row.again;
}

/* --- telling the journal ------------------------------------------------------------------------ */

static struct str asked_for(const struct replay *r, struct arena *arena) {
    struct buf out;
    buf_init(&out, 8192);
    if (r->from_seq || r->to_seq)
        buf_printf(&out, "seq %lld to %lld ", (long long)(r->from_seq ? r->from_seq : 1),
                   (long long)(r->to_seq ? r->to_seq : r->last));
    const struct {
        const char *name;
        struct instant at;
    } times[] = {{"from", r->from}, {"to", r->to}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++)
        if (times[i].at.us != 0) {
            buf_printf(&out, "%s ", times[i].name);
            instant_write(&out, times[i].at);
            buf_char(&out, ' ');
        }
    const struct {
        const char *name;
        struct str text;
    } texts[] = {{"type", r->type}, {"key", r->key}, {"correlation", r->correlation},
                 {"connector", r->connector}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].text.ptr)
            buf_printf(&out, "%s %.*s ", texts[i].name, STR_FMT(texts[i].text));
    struct str text = buf_str(&out);
    if (text.len > 0)
        text.len--;
    text = arena_str(arena, text.len ? text : STR("everything"));
    buf_free(&out);
    return text;
}

static void tell_text(struct delivery_replay *told, int row, struct str *member, struct str text,
                      struct arena *arena) {
    if (text.len == 0)
        return;
    *member = arena_str(arena, text);
    told->has |= UINT64_C(1) << row;
}

bool replay_tell(struct subscription *sub, const struct replay_job *job, int32_t action, struct str by,
                 struct str reason, bool wait) {
    const struct replay *r = &job->row;
    struct attempt *attempt = attempt_take(sub);
    if (attempt == NULL)
        return false;
    struct arena *arena = &attempt->arena;
    struct delivery_replay *told = arena_new(arena, struct delivery_replay);
    attempt->replay = wait ? (uint64_t)r->id : 0;
    if (told != NULL) {
        told->subscription = sub->name;
        told->connector = attempt->send->connector->name;
        told->replay = r->id;
        told->action = action;
        told->again = r->again;
        told->chosen = r->chosen;
        told->sent = r->sent;
        told->found = r->found;
        told->held = r->held;
        told->superseded = r->superseded;
        told->has = (UINT64_C(1) << (REPLAYED_SUPERSEDED + 1)) - 1;
        told->has &= ~(UINT64_C(1) << REPLAYED_BY | UINT64_C(1) << REPLAYED_REASON |
                       UINT64_C(1) << REPLAYED_CHOSEN_BY);
        tell_text(told, REPLAYED_BY, &told->by, by, arena);
        tell_text(told, REPLAYED_REASON, &told->reason, reason, arena);
        tell_text(told, REPLAYED_CHOSEN_BY, &told->chosen_by, asked_for(r, arena), arena);
    }
    return attempt_tell(attempt, &delivery_replay_command, told, 0);
}

void replay_told(struct attempt *attempt, enum err err) {
    struct deliver *d = attempt->deliver;
    pthread_mutex_lock(&d->lock);
    struct replay_job *job = replay_find(d, attempt->replay);
    if (job != NULL) {
        job->telling = false;
        if (err != OK && d->stopping) {
            /* told by the next life */
        } else if (job->row.state == REPLAY_STARTING && err != OK) {
            job->row.error = STR("the journal could not be told");
            shape_mark(&job->row, REPLAY_ERROR);
            job_over(attempt->sub, job, REPLAY_FAILED);
        } else if (job->row.state == REPLAY_STARTING) {
            job->row.began = true;
            shape_mark(&job->row, REPLAY_BEGAN);
            replay_state_set(job, REPLAY_RUNNING);
        } else if (job->row.state == REPLAY_ENDING) {
            job_over(attempt->sub, job, REPLAY_DONE);
        }
    }
    pthread_mutex_unlock(&d->lock);
}

/* --- figures -------------------------------------------------------------------------------------- */

void replay_figures(struct deliver *d, const struct subscription *sub, const struct str *labels,
                    struct metrics *out) {
    static const char *const outcomes[] = {"sent", "found", "held", "superseded"};
    for (int i = 0; i < REPLAY_OUTCOMES; i++)
        metric_add(out, METRIC_REPLAYED, METRIC_LABELS(labels[0], labels[1], str_c(outcomes[i])),
                   counter_read(&sub->replayed[i]));
    int64_t under_way = 0, left = 0, waiting = 0;
    pthread_mutex_lock(&d->lock);
    for (uint32_t i = 0; i < d->replays.count; i++) {
        const struct replay *r = &d->replays.items[i]->row;
        if (replay_over(r) || !str_eq(r->subscription, sub->name))
            continue;
        int64_t rest = r->chosen - r->sent - r->found - r->held;
        under_way++;
        left += rest > 0 && !r->dry_run ? rest : 0;
        waiting += r->waiting;
    }
    pthread_mutex_unlock(&d->lock);
    metric_add(out, METRIC_REPLAYS, labels, (uint64_t)under_way);
    metric_add(out, METRIC_REPLAY_LEFT, labels, (uint64_t)left);
    metric_add(out, METRIC_REPLAY_WAITING, labels, (uint64_t)waiting);
}
