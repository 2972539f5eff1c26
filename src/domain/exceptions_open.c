/* exceptions_open: the open cases by the message, the lane or the order that waits for them.
 *
 * All of them are in memory. Those of one lane are a chain by the place of their message in the
 * journal; usually it is one, because what comes behind it is parked before anything can be wrong
 * with it (inbound_lanes.c). */
#include "domain/exceptions_priv.h"

#include "base/links.h"
#include "base/hash.h"
#include "base/mem.h"

static uint64_t id_hash(struct id128 id) {
    return hash64(str_of((const char *)id.bytes, ID_BYTES), 0);
}
static uint64_t seq_hash(uint64_t seq) {
    return hash64(str_of((const char *)&seq, sizeof seq), 0);
}
static const struct waiting *item(const void *ctx, uint32_t index) {
    return &((const struct waiting_state *)ctx)->items[index];
}
static bool id_eq(const void *ctx, uint32_t index, const void *key) {
    return memcmp(&item(ctx, index)->id, key, ID_BYTES) == 0;
}
static uint64_t id_hash_of(const void *ctx, uint32_t index) { return id_hash(item(ctx, index)->id); }
static bool payload_eq(const void *ctx, uint32_t index, const void *key) {
    return item(ctx, index)->payload_seq == *(const uint64_t *)key;
}
static uint64_t payload_hash_of(const void *ctx, uint32_t index) {
    return seq_hash(item(ctx, index)->payload_seq);
}
static struct str lane_of(const void *ctx, uint32_t index) { return item(ctx, index)->lane; }
static uint64_t lane_place(const void *ctx, uint32_t index) { return item(ctx, index)->payload_seq; }
static uint32_t *lane_next(void *ctx, uint32_t index) {
    return &((struct waiting_state *)ctx)->items[index].next;
}
static const struct links_ops lane_chain = {lane_of, lane_place, lane_next};
static bool subject_eq(const void *ctx, uint32_t index, const void *key) {
    return str_eq(item(ctx, index)->subject, *(const struct str *)key);
}
static uint64_t subject_hash_of(const void *ctx, uint32_t index) {
    return hash64(item(ctx, index)->subject, 0);
}

bool exception_waits(const struct exception *e) {
    return e->payload_seq > 0 && !str_is(e->kind, "shortage") && !str_is(e->kind, "card-data");
}

uint32_t waiting_find(const struct waiting_state *s, struct id128 id) {
    return map_find(&s->by_id, id_hash(id), id_eq, s, &id);
}
uint32_t waiting_of_payload(const struct waiting_state *s, uint64_t seq) {
    return s->live ? map_find(&s->by_payload, seq_hash(seq), payload_eq, s, &seq) : MAP_NONE;
}
uint32_t waiting_of_subject(const struct waiting_state *s, struct str subject) {
    return s->live && subject.len
               ? map_find(&s->by_subject, hash64(subject, 0), subject_eq, s, &subject)
               : MAP_NONE;
}
static uint32_t lane_first(const struct waiting_state *s, struct str lane) {
    return s->lanes ? links_first(&lane_chain, &s->by_lane, s, lane) : MAP_NONE;
}

bool exceptions_hold(const struct state *state, struct str lane, uint64_t seq) {
    const struct exceptions_state *s = state_part(state, &exceptions_capability);
    uint32_t first = lane.len ? lane_first(&s->waiting, lane) : MAP_NONE;
    return first != MAP_NONE && s->waiting.items[first].payload_seq < seq;
}

uint64_t exceptions_edition(const void *part, uint64_t payload_seq) {
    const struct waiting_state *s = &((const struct exceptions_state *)part)->waiting;
    uint32_t slot = waiting_of_payload(s, payload_seq);
    return slot == MAP_NONE ? 0 : s->items[slot].edition_seq;
}

bool exceptions_next(const void *part, struct str kind, uint32_t *at, struct arena *arena, struct str *id,
                     struct str *subject) {
    const struct waiting_state *s = &((const struct exceptions_state *)part)->waiting;
    while (*at < s->count) {
        const struct waiting *w = &s->items[(*at)++];
        if (!w->texts || !str_eq(w->kind, kind))
            continue;
        *id = id_text(arena, "exc_", w->id);
        *subject = arena_str(arena, w->subject);
        return true;
    }
    return false;
}

/* --- changing ------------------------------------------------------------------------------------ */

/* MAP_NONE: memory is out. */
static uint32_t waiting_put(struct waiting_state *s, const struct waiting *from) {
    if (!s->free && !MEM_ROOM(s->items, s->count, s->cap, 64))
        return MAP_NONE;
    char *at = mem_alloc(from->kind.len + from->subject.len + from->lane.len + 1);
    if (!at)
        return MAP_NONE;
    uint32_t slot = s->free ? s->free - 1 : s->count;
    struct waiting *w = &s->items[slot];
    if (s->free)
        s->free = w->next;
    else
        s->count++;
    *w = *from;
    w->next = 0;
    w->texts = at;
    w->kind = str_keep(&at, from->kind);
    w->subject = str_keep(&at, from->subject);
    w->lane = str_keep(&at, from->lane);
    s->live++;
    bool room = map_add(&s->by_id, id_hash(w->id), slot, id_hash_of, s);
    if (room && w->payload_seq)
        room = map_add(&s->by_payload, seq_hash(w->payload_seq), slot, payload_hash_of, s);
    else if (room && w->subject.len)
        room = map_add(&s->by_subject, hash64(w->subject, 0), slot, subject_hash_of, s);
    if (room && w->lane.len) {
        room = links_add(&lane_chain, &s->by_lane, s, slot);
        s->lanes++;
    }
    return room ? slot : MAP_NONE;
}

static struct waiting_state *waiting_of(struct state *state) {
    return &((struct exceptions_state *)state_of(state, &exceptions_capability))->waiting;
}

enum err waiting_begin(struct state *state, struct id128 id, const struct exception *e) {
    struct waiting_state *s = waiting_of(state);
    struct waiting w = {.id = id, .version = 1, .kind = e->kind, .subject = e->subject};
    if (exception_waits(e) && waiting_of_payload(s, (uint64_t)e->payload_seq) == MAP_NONE) {
        w.payload_seq = (uint64_t)e->payload_seq;
        w.lane = e->lane;
    }
    uint32_t slot = waiting_put(s, &w);
    return slot == MAP_NONE ? ERR_NOMEM : entity_changed(state, &waiting_entity, slot);
}

enum err waiting_change(struct state *state, uint32_t slot, const struct exception_change *change) {
    struct waiting *w = &waiting_of(state)->items[slot];
    w->version = change->version;
    w->attempts = change->attempts;
    if (change->change == CASE_EDITED)
        w->edition_seq = (uint64_t)change->edition_seq;
    return entity_changed(state, &waiting_entity, slot);
}

enum err waiting_end(struct state *state, uint32_t slot) {
    struct waiting_state *s = waiting_of(state);
    struct waiting *w = &s->items[slot];
    enum err err = entity_gone(state, &waiting_entity, slot);
    must(map_remove(&s->by_id, id_hash(w->id), slot));
    if (w->payload_seq)
        must(map_remove(&s->by_payload, seq_hash(w->payload_seq), slot));
    else if (w->subject.len)
        must(map_remove(&s->by_subject, hash64(w->subject, 0), slot));
    if (w->lane.len) {
        s->lanes--;
        if (!links_remove(&lane_chain, &s->by_lane, s, slot))
            err = ERR_NOMEM;
    }
    mem_free(w->texts);
    *w = (struct waiting){.next = s->free};
    s->free = slot + 1;
    s->live--;
    return err;
}

/* --- as bytes, and the rest of its life ------------------------------------------------------------ */

static struct hash128 waiting_key(const void *part, uint32_t slot) {
    return id_key(((const struct exceptions_state *)part)->waiting.items[slot].id);
}

static void waiting_save(const void *part, uint32_t slot, struct buf *out) {
    const struct waiting *w = &((const struct exceptions_state *)part)->waiting.items[slot];
    pack_uint(out, w->payload_seq);
    pack_uint(out, w->edition_seq);
    pack_int(out, w->version);
    pack_int(out, w->attempts);
    pack_str(out, w->kind);
    pack_str(out, w->subject);
    pack_str(out, w->lane);
}

static enum err waiting_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct unpack in = unpack_of(bytes);
    struct waiting w = {.id = id_of_key(key), .payload_seq = unpack_uint(&in)};
    struct waiting_state *s = &((struct exceptions_state *)part)->waiting;
    w.edition_seq = unpack_uint(&in);
    w.version = unpack_int(&in);
    w.attempts = unpack_int(&in);
    w.kind = unpack_str(&in);
    w.subject = unpack_str(&in);
    w.lane = unpack_str(&in);
    if (unpack_end(&in) != OK || waiting_find(s, w.id) != MAP_NONE)
        return ERR_DAMAGED;
    *slot = waiting_put(s, &w);
    return *slot == MAP_NONE ? ERR_NOMEM : OK;
}

const struct entity_kind waiting_entity = {
    .name = "exception.open", .flags = ENTITY_RESIDENT,
    .help = "Open cases, by what waits for them",
    .load = waiting_load, .key = waiting_key, .save = waiting_save};

void waiting_free(struct waiting_state *s) {
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->items[i].texts);
    mem_free(s->items);
    map_free(&s->by_id);
    map_free(&s->by_payload);
    map_free(&s->by_lane);
    map_free(&s->by_subject);
}

void waiting_dump(const struct waiting_state *s, struct buf *out) {
    for (uint32_t i = 0; i < s->count; i++) {
        const struct waiting *w = &s->items[i];
        char id[ID_TEXT_LEN];
        if (!w->texts)
            continue;
        id_write(id, w->id);
        buf_printf(out, "waiting exc_%.*s payload=%llu edition=%llu version=%lld attempts=%lld lane=%.*s\n",
                   ID_TEXT_LEN, id, (unsigned long long)w->payload_seq,
                   (unsigned long long)w->edition_seq, (long long)w->version,
                   (long long)w->attempts, STR_FMT(w->lane));
    }
}
