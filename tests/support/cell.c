/* cell: see cell.h. */
#include "cell.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/decimal.h"
#include "base/json.h"
#include "base/mem.h"
#include "core/rows.h"
#include "domain/list.h"

/* --- journal in memory ------------------------------------------------------------------------ */

static void record_keep(struct journal_mem *j, const struct record *record) {
    if (j->count == j->cap) {
        j->cap = j->cap ? j->cap * 2 : 256;
        j->records = realloc(j->records, j->cap * sizeof *j->records);
        must(j->records);
    }
    j->records[j->count++] = (struct record){
        record->seq,
        record->time_us,
        arena_str(&j->arena, record->type),
        arena_str(&j->arena, record->subject),
        arena_str(&j->arena, record->meta),
        arena_str(&j->arena, record->data),
    };
}

static enum err mem_append(struct journal *base, const struct record *records, uint32_t n,
                           struct fault *fault) {
    struct journal_mem *j = (struct journal_mem *)base;
    if (records[0].seq != (uint64_t)j->count + 1)
        return fault_set(fault, ERR_CONFLICT, "another writer");
    bool fail = j->fail_appends > 0;
    if (fail)
        j->fail_appends--;
    mem_fail_hold(true); /* it stands for a disk */
    if (!fail || j->fail_after_write)
        for (uint32_t i = 0; i < n; i++)
            record_keep(j, &records[i]);
    mem_fail_hold(false);
    return fail ? fault_set(fault, ERR_IO, "disk trouble on purpose") : OK;
}

static enum err mem_read(struct journal *base, uint64_t from, uint32_t limit, journal_visit *visit,
                         void *ctx, uint64_t *next, struct fault *fault) {
    struct journal_mem *j = (struct journal_mem *)base;
    (void)fault;
    *next = from ? from : 1;
    for (uint32_t n = 0; n < limit && *next <= j->count; n++) {
        ++*next;
        if (!visit(ctx, &j->records[*next - 2]))
            break;
    }
    return OK;
}

static enum err mem_last(struct journal *base, uint64_t *seq, struct fault *fault) {
    (void)fault;
    *seq = ((struct journal_mem *)base)->count;
    return OK;
}
static enum err mem_tidy(struct journal *base, bool *again, struct fault *fault) {
    (void)base;
    (void)fault;
    *again = false;
    return OK;
}
static void mem_close(struct journal *base) {
    struct journal_mem *j = (struct journal_mem *)base;
    arena_free(&j->arena);
    free(j->records);
    j->records = NULL;
}
static const struct journal_ops journal_mem_ops = {mem_append, mem_read, mem_last, mem_tidy,
                                                   mem_close};

void journal_mem_init(struct journal_mem *j) {
    *j = (struct journal_mem){.journal = {&journal_mem_ops}};
    arena_init(&j->arena, (size_t)1 << 40);
}

/* --- shelf in memory --------------------------------------------------------------------------- */

static struct shelf_mem_entry *entry_find(struct shelf_mem *m, uint32_t space, struct hash128 key) {
    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].space == space && hash128_eq(m->entries[i].key, key))
            return &m->entries[i];
    return NULL;
}

static void entry_write(struct shelf_mem *m, const struct shelf_entry *from) {
    struct shelf_mem_entry *e = entry_find(m, from->space, from->key);
    if (!e) {
        if (m->count == m->cap) {
            m->cap = m->cap ? m->cap * 2 : 256;
            m->entries = realloc(m->entries, m->cap * sizeof *m->entries);
            must(m->entries);
        }
        e = &m->entries[m->count++];
        *e = (struct shelf_mem_entry){.space = from->space, .key = from->key};
    }
    free(e->value);
    e->value = from->value.ptr ? malloc(from->value.len + 1) : NULL;
    e->len = from->value.len;
    if (from->value.ptr)
        memcpy(e->value, from->value.ptr, e->len);
}

static enum err shelf_mem_write(struct shelf *s, uint64_t seq, int64_t forget_us,
                                const struct shelf_entry *entries, uint32_t n,
                                struct fault *fault) {
    struct shelf_mem *m = (struct shelf_mem *)s;
    (void)forget_us;
    if (m->fail_writes) {
        m->fail_writes--;
        return fault_set(fault, ERR_IO, "shelf trouble on purpose");
    }
    must(seq >= m->seq);
    m->seq = seq;
    for (uint32_t i = 0; i < n; i++)
        entry_write(m, &entries[i]);
    return OK;
}
static bool shelf_mem_maybe(struct shelf *s, uint32_t space, struct hash128 key) {
    return entry_find((struct shelf_mem *)s, space, key) != NULL || key.lo % 8 == 0;
}
static enum err shelf_mem_get(struct shelf *s, uint32_t space, struct hash128 key,
                              struct arena *arena, struct str *value, struct fault *fault) {
    struct shelf_mem *m = (struct shelf_mem *)s;
    *value = STR_NONE;
    if (m->damaged)
        return fault_set(fault, ERR_DAMAGED, "shelf damaged on purpose");
    if (m->fail_reads) {
        m->fail_reads--;
        return fault_set(fault, ERR_IO, "shelf trouble on purpose");
    }
    const struct shelf_mem_entry *e = entry_find(m, space, key);
    if (e && e->value)
        *value = arena_str(arena, str_of(e->value, e->len));
    return OK;
}
static enum err shelf_mem_each(struct shelf *s, uint32_t space, shelf_visit *visit, void *ctx,
                               struct fault *fault) {
    struct shelf_mem *m = (struct shelf_mem *)s;
    if (m->damaged)
        return fault_set(fault, ERR_DAMAGED, "shelf damaged on purpose");
    for (uint32_t i = 0; i < m->count; i++) {
        const struct shelf_mem_entry *e = &m->entries[i];
        if (e->space == space && e->value && !visit(ctx, e->key, str_of(e->value, e->len)))
            break;
    }
    return OK;
}
static enum err shelf_mem_tidy(struct shelf *s, bool *again, struct fault *fault) {
    (void)s;
    (void)fault;
    *again = false;
    return OK;
}
static enum err shelf_mem_reset(struct shelf *s, struct fault *fault) {
    struct shelf_mem *m = (struct shelf_mem *)s;
    (void)fault;
    for (uint32_t i = 0; i < m->count; i++)
        free(m->entries[i].value);
    m->count = 0;
    m->seq = 0;
    m->damaged = false;
    return OK;
}
static uint64_t shelf_mem_seq(struct shelf *s) { return ((struct shelf_mem *)s)->seq; }
static size_t shelf_mem_memory(struct shelf *s) {
    (void)s;
    return 0;
}
static const struct shelf_ops shelf_mem_ops = {
    .write = shelf_mem_write, .maybe = shelf_mem_maybe, .get = shelf_mem_get,
    .each = shelf_mem_each, .tidy = shelf_mem_tidy, .reset = shelf_mem_reset,
    .seq = shelf_mem_seq, .memory = shelf_mem_memory};

void shelf_mem_init(struct shelf_mem *m) { *m = (struct shelf_mem){.shelf = {&shelf_mem_ops}}; }

void shelf_mem_free(struct shelf_mem *m) {
    struct fault fault;
    fault_init(&fault, NULL);
    must(shelf_mem_reset(&m->shelf, &fault) == OK);
    free(m->entries);
    m->entries = NULL;
    m->cap = 0;
}

/* --- cell ----------------------------------------------------------------------------------------- */

static int64_t cell_tick(struct clock *clock) { return ((struct cell *)clock)->now_us; }
static int64_t cell_now(struct clock *clock) { return cell_tick(clock) - ((struct cell *)clock)->back_us; }

static void cell_deliver(struct command_origin *origin, struct command *first) {
    struct cell *cell =
        (struct cell *)(void *)((char *)origin - offsetof(struct cell, origin));
    must(first == &cell->command && !first->next);
    cell->delivered = true;
}

static struct str sources[] = {{"WH-HAM", 6}, {"WH-BER", 6}};
static struct config_channel channels[] = {
    {.channel = {"back", 4}, .sourcing = {sources, 2}, .on_shortage = SHORTAGE_BACK_ORDER},
    {.channel = {"hold", 4}, .sourcing = {sources, 2}, .on_shortage = SHORTAGE_HOLD},
    {.channel = {"web-de", 6}, .sourcing = {sources, 2}, .on_shortage = SHORTAGE_REFUSE},
};
static struct config_location locations[] = {
    {.location = {"S01", 3}, .kind = LOCATION_STORE},
    {.location = {"WH-BER", 6}, .kind = LOCATION_WAREHOUSE},
    {.location = {"WH-HAM", 6}, .kind = LOCATION_WAREHOUSE},
};

static void config_fill(struct config *config) {
    *config = (struct config){.cell = STR("test")};
    arena_init(&config->arena, 0);
#define SETTING(name, kind, dflt, min, max, unit, help) config->settings.name = dflt;
#include "core/settings.def"
#undef SETTING
    config->channels = (struct shape_list){channels, 3};
    config->locations = (struct shape_list){locations, 3};
}

static void core_open(struct cell *cell) {
    cell->tail = tail_create(&cell->journal.journal, (size_t)1 << 20);
    must(cell->tail);
    struct core_options options = {.capabilities = domain_capabilities,
                                   .config = &cell->config,
                                   .journal = &cell->journal.journal,
                                   .keyring = cell->keyring,
                                   .shelf = cell->shelved ? &cell->shelf.shelf : NULL,
                                   .tail = cell->tail,
                                   .clock = &cell->clock,
                                   .rng = &cell->rng.rng};
    struct fault fault;
    fault_init(&fault, NULL);
    cell->core = core_create(&options, &fault);
    must(cell->core);
}

static void cell_make(struct cell *cell, uint64_t seed, bool shelved, struct keyring *keyring) {
    *cell = (struct cell){.clock = {cell_now, cell_tick}, .now_us = INT64_C(1795421700000000),
                          .keyring = keyring};
    rng_seeded_init(&cell->rng, seed);
    config_fill(&cell->config);
    cell->shelved = shelved;
    shelf_mem_init(&cell->shelf);
    rng_seeded_init(&cell->shelf_rng, seed);
    if (shelved) {
        cell->config.settings.state_bytes_max = 4096;
        cell->config.settings.state_flush_events = 16;
    }
    journal_mem_init(&cell->journal);
    cell->origin.deliver = cell_deliver;
    arena_init(&cell->arena, 0);
    cell->parser = json_parser_create();
    must(cell->parser);
    core_open(cell);
}

void cell_open(struct cell *cell, uint64_t seed) { cell_make(cell, seed, false, NULL); }
void cell_open_shelved(struct cell *cell, uint64_t seed) { cell_make(cell, seed, true, NULL); }
void cell_open_sealed(struct cell *cell, uint64_t seed, struct keyring *keyring) {
    cell_make(cell, seed, false, keyring);
}

static void core_close(struct cell *cell) {
    core_destroy(cell->core);
    tail_destroy(cell->tail);
}

void cell_close(struct cell *cell) {
    core_close(cell);
    journal_close(&cell->journal.journal);
    shelf_mem_free(&cell->shelf);
    json_parser_destroy(cell->parser);
    arena_free(&cell->arena);
}

void cell_restart(struct cell *cell) {
    core_close(cell);
    core_open(cell);
}

void cell_crash(struct cell *cell) {
    cell->shelf.fail_writes = UINT32_MAX;
    core_close(cell);
    cell->shelf.fail_writes = 0;
    core_open(cell);
}

/* What is a thread in production gets its turn now and then. */
static void cell_shelve(struct cell *cell) {
    bool again;
    struct fault fault;
    fault_init(&fault, NULL);
    if (cell->shelved && rng_below(&cell->shelf_rng.rng, 3) == 0 &&
        core_shelf_step(cell->core, &again, &fault) != OK)
        must(fault.err == ERR_IO);
}

static enum err cell_prepare(struct cell *cell, const char *type, const char *json, bool fact) {
    const struct command_type *t = registry_command(core_registry(cell->core), str_c(type));
    void *body = NULL;
    must(t);
    arena_reset(&cell->arena);
    fault_init(&cell->fault, &cell->arena);
    enum err err = OK;
    if (json) {
        const struct json *value;
        err = json_parse(cell->parser, &cell->arena, str_c(json), false, &value, &cell->fault);
        if (err == OK)
            err = shape_decode(t->shape, value, &cell->arena, STR(""), &body, &cell->fault);
    }
    if (err == OK)
        err = (fact ? command_prepare_fact : command_prepare)(cell->core, t, &cell->arena, body,
                                                              &cell->command, &cell->fault);
    return err;
}

static int cell_finish_run(struct cell *cell) {
    struct reader reader = {.core = cell->core, .journal = &cell->journal.journal,
                            .parser = cell->parser};
    cell->command.origin = &cell->origin;
    cell->delivered = false;
    enum err err = core_submit(cell->core, &cell->command, &cell->fault);
    if (err != OK)
        return err_info(err)->status;
    core_step(cell->core);
    cell_shelve(cell);
    must(cell->delivered);
    if (command_unfinished(&cell->command))
        cell->command.answer.err = command_finish(&reader, &cell->command, &cell->fault);
    return cell->command.answer.err == OK ? cell->command.answer.status
                                          : err_info(cell->command.answer.err)->status;
}

int cell_run(struct cell *cell, const char *type, const char *json, const char *arg0,
             const char *idem_key) {
    char arg[64] = ""; /* arg0 may lie in the arena of the command before */
    if (arg0)
        snprintf(arg, sizeof arg, "%s", arg0);
    enum err err = cell_prepare(cell, type, json, false);
    if (err != OK)
        return err_info(err)->status;
    mem_fail_hold(true);
    if (arg0)
        cell->command.args[0] = arena_str(&cell->arena, str_c(arg));
    mem_fail_hold(false);
    if (idem_key) {
        cell->command.idem_scope = str_c(type);
        cell->command.idem_key = str_c(idem_key);
    }
    return cell_finish_run(cell);
}

int cell_run_fact(struct cell *cell, const char *type, const char *json) {
    enum err err = cell_prepare(cell, type, json, true);
    if (err != OK)
        return err_info(err)->status;
    return cell_finish_run(cell);
}

struct str cell_body(const struct cell *cell) { return cell->command.answer.body; }

const char *cell_stock(struct cell *cell, const char *sku, const char *location) {
    static char text[128];
    struct reader reader = {.core = cell->core};
    struct query_value values[] = {{STR("sku"), str_c(sku)}, {STR("location"), str_c(location)}};
    struct buf out;
    buf_init(&out, 0);
    struct query query = {.arena = &cell->arena, .reader = &reader, .values = values,
                          .value_count = 2, .out = &out};
    const struct route *route = NULL;
    for (const struct capability *const *c = domain_capabilities; *c && !route; c++)
        for (const struct route *r = (*c)->routes; r && r->method && !route; r++)
            if (str_is(str_c(r->path), "/v1/availability"))
                route = r;
    must(route && route->query(&query, &cell->fault) == OK);
    const struct json *answer;
    must(json_parse(cell->parser, &cell->arena, buf_str(&out), false, &answer, NULL) == OK);
    const struct json *item = json_first(json_member(answer, STR("items")));
    struct str on_hand = json_member_str(item, STR("on_hand")),
               held = json_member_str(item, STR("held")),
               committed = json_member_str(item, STR("committed"));
    snprintf(text, sizeof text, "%.*s/%.*s/%.*s", STR_FMT(on_hand), STR_FMT(held),
             STR_FMT(committed));
    buf_free(&out);
    return text;
}

char *cell_dump(struct cell *cell) {
    struct buf out;
    mem_fail_hold(true);
    buf_init(&out, 0);
    core_dump(cell->core, &out);
    must(buf_ok(&out));
    buf_cstr(&out);
    mem_fail_hold(false);
    return out.data;
}
