/* orders state: entries by hub id and by natural key; as bytes and back. See orders_priv.h. */
#include "domain/orders_priv.h"

#include "base/decimal.h"
#include "base/hash.h"
#include "base/mem.h"

static struct hash128 natural_hash(struct str channel, struct str channel_order_id) {
    struct hash128 h = hash128(channel, 0);
    return hash128(channel_order_id, h.lo ^ h.hi);
}

static uint64_t id_hash(const struct id128 *id) {
    return hash64(str_of((const char *)id->bytes, ID_BYTES), 0);
}
static bool id_eq(const void *ctx, uint32_t index, const void *key) {
    return memcmp(&((const struct orders_state *)ctx)->orders[index].id, key, ID_BYTES) == 0;
}
static uint64_t id_hash_of(const void *ctx, uint32_t index) {
    return id_hash(&((const struct orders_state *)ctx)->orders[index].id);
}
static bool natural_eq(const void *ctx, uint32_t index, const void *key) {
    return hash128_eq(((const struct orders_state *)ctx)->orders[index].natural,
                      *(const struct hash128 *)key);
}
static uint64_t natural_hash_of(const void *ctx, uint32_t index) {
    return ((const struct orders_state *)ctx)->orders[index].natural.hi;
}

uint32_t order_find(const struct state *state, struct str order_id) {
    struct id128 id;
    return id_parse(order_id, "ord_", &id) ? entity_get(state, &order_entity, id_key(id))
                                           : MAP_NONE;
}

uint32_t order_find_natural(const struct state *state, struct str channel,
                            struct str channel_order_id) {
    const struct orders_state *s = state_part(state, &orders_capability);
    struct hash128 key = natural_hash(channel, channel_order_id);
    uint32_t slot = map_find(&s->by_natural, key.hi, natural_eq, s, &key);
    if (slot != MAP_NONE)
        return slot;
    struct str bytes = entity_bytes(state, &order_natural_entity, key);
    struct unpack in = unpack_of(bytes);
    return bytes.ptr ? entity_get(state, &order_entity, unpack_hash(&in)) : MAP_NONE;
}

void order_need(struct command *command, struct str order_id) {
    struct id128 id;
    if (id_parse(order_id, "ord_", &id))
        command_need(command, &order_entity, id_key(id));
}

void order_needs(struct command *command) { order_need(command, command->args[0]); }

void order_needs_natural(struct command *command, struct str channel,
                         struct str channel_order_id) {
    command_need(command, &order_natural_entity, natural_hash(channel, channel_order_id));
}

uint32_t order_line_find(const struct order_entry *entry, struct str line_id) {
    for (uint32_t i = 0; i < entry->line_count; i++)
        if (str_eq(entry->lines[i].line_id, line_id))
            return i;
    return MAP_NONE;
}

static struct str text_copy(char **at, struct str s) {
    struct str copy = str_of(*at, s.len);
    if (s.len)
        memcpy(*at, s.ptr, s.len);
    *at += s.len;
    return copy;
}

/* Lines, allocations and room for their texts in one block; *text: where the texts begin. */
static enum err entry_block(struct order_entry *entry, uint32_t lines, uint32_t allocations,
                            size_t text_bytes, char **text) {
    size_t head = lines * sizeof(struct line_entry) + allocations * sizeof(struct allocation);
    char *block = mem_alloc(head + text_bytes);
    if (!block)
        return ERR_NOMEM;
    entry->lines = (struct line_entry *)(void *)block;
    entry->allocations =
        (struct allocation *)(void *)(block + lines * sizeof(struct line_entry));
    entry->line_count = lines;
    entry->allocation_count = allocations;
    entry->text_bytes = (uint32_t)text_bytes;
    *text = block + head;
    return OK;
}

static enum err entry_fill(struct order_entry *entry, const struct order_captured *e) {
    const struct shape_list *lines = &e->order->lines, *taken = &e->reservations;
    size_t size = 0;
    for (uint32_t i = 0; i < lines->count; i++) {
        const struct order_line *line = list_at(*lines, struct order_line, i);
        size += line->line_id.len + line->sku.len;
    }
    for (uint32_t i = 0; i < taken->count; i++)
        size += list_at(*taken, struct order_reservation, i)->location.len;
    char *at;
    if (entry_block(entry, lines->count, taken->count, size, &at) != OK)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < lines->count; i++) {
        const struct order_line *line = list_at(*lines, struct order_line, i);
        entry->lines[i] = (struct line_entry){.quantity = line->quantity};
        entry->lines[i].line_id = text_copy(&at, line->line_id);
        entry->lines[i].sku = text_copy(&at, line->sku);
    }
    uint32_t line = 0;
    for (uint32_t i = 0; i < taken->count; i++) {
        const struct order_reservation *r = list_at(*taken, struct order_reservation, i);
        /* Reservations follow the lines' order nearly always. */
        if (line >= entry->line_count || !str_eq(entry->lines[line].line_id, r->line_id))
            line = order_line_find(entry, r->line_id);
        must(line != MAP_NONE);
        entry->allocations[i] =
            (struct allocation){line, text_copy(&at, r->location), r->quantity};
    }
    return OK;
}

/* A slot for one more entry; MAP_NONE when memory is out. */
static uint32_t entry_slot(struct orders_state *s) {
    if (s->free)
        return s->free - 1;
    return MEM_ROOM(s->orders, s->count, s->cap, 256) ? s->count : MAP_NONE;
}

/* The entry, with its block, goes into the slot. */
static enum err entry_put(struct orders_state *s, uint32_t slot, const struct order_entry *entry) {
    if (s->free)
        s->free = (uint32_t)s->orders[slot].last_seq;
    else
        s->count++;
    s->orders[slot] = *entry;
    return map_add(&s->by_id, id_hash(&entry->id), slot, id_hash_of, s) &&
                   map_add(&s->by_natural, entry->natural.hi, slot, natural_hash_of, s)
               ? OK
               : ERR_NOMEM;
}

enum err order_add(struct state *state, const struct event *event) {
    struct orders_state *s = state_of(state, &orders_capability);
    const struct order_captured *e = event->data;
    struct order_entry entry = {
        .natural = natural_hash(e->order->channel, e->order->channel_order_id),
        .captured_seq = event->seq,
        .last_seq = event->seq,
        .captured_us = event->time_us,
        .updated_us = event->time_us,
        .version = (uint32_t)e->version,
        .state = (uint8_t)e->state,
    };
    must(id_parse(e->order_id, "ord_", &entry.id));
    uint32_t slot = entry_slot(s);
    if (slot == MAP_NONE || entry_fill(&entry, e) != OK)
        return ERR_NOMEM;
    struct hash128 key = id_key(entry.id);
    char id[sizeof key];
    memcpy(id, &key, sizeof key); /* lo before hi, as unpack_hash reads it */
    enum err err = entry_put(s, slot, &entry);
    if (err == OK)
        err = entity_changed(state, &order_entity, slot);
    if (err == OK)
        err = entity_put(state, &order_natural_entity, entry.natural, str_of(id, sizeof id));
    return err;
}

/* --- as bytes ------------------------------------------------------------------------------------ */

static struct hash128 order_key(const void *part, uint32_t slot) {
    return id_key(((const struct orders_state *)part)->orders[slot].id);
}

static void order_save(const void *part, uint32_t slot, struct buf *out) {
    const struct order_entry *e = &((const struct orders_state *)part)->orders[slot];
    pack_hash(out, e->natural);
    pack_uint(out, e->captured_seq);
    pack_uint(out, e->last_seq - e->captured_seq);
    pack_int(out, e->captured_us);
    pack_int(out, e->updated_us - e->captured_us);
    pack_uint(out, e->version);
    pack_uint(out, (uint64_t)e->state << 1 | e->posted);
    pack_uint(out, e->line_count);
    pack_uint(out, e->allocation_count);
    pack_uint(out, e->text_bytes);
    for (uint32_t i = 0; i < e->line_count; i++) {
        const struct line_entry *line = &e->lines[i];
        pack_str(out, line->line_id);
        pack_str(out, line->sku);
        pack_int(out, line->quantity);
        pack_int(out, line->shipped);
        pack_int(out, line->cancelled);
    }
    for (uint32_t i = 0; i < e->allocation_count; i++) {
        const struct allocation *a = &e->allocations[i];
        pack_uint(out, a->line);
        pack_str(out, a->location);
        pack_int(out, a->quantity);
    }
}

/* Copies a text if the block has room for it. */
static struct str text_load(struct unpack *in, char **at, const char *end) {
    struct str text = unpack_str(in);
    if (text.len > (size_t)(end - *at)) {
        in->failed = true;
        return str_of("", 0);
    }
    return text_copy(at, text);
}

static enum err order_parts_load(struct order_entry *e, struct unpack *in) {
    uint64_t lines = unpack_uint(in), allocations = unpack_uint(in), text = unpack_uint(in);
    size_t left = (size_t)(in->end - in->at);
    char *at;
    if (in->failed || lines > left || allocations > left || text > left)
        return ERR_DAMAGED;
    enum err err = entry_block(e, (uint32_t)lines, (uint32_t)allocations, (size_t)text, &at);
    if (err != OK)
        return err;
    const char *end = at + text;
    for (uint32_t i = 0; i < e->line_count; i++) {
        struct line_entry *line = &e->lines[i];
        line->line_id = text_load(in, &at, end);
        line->sku = text_load(in, &at, end);
        line->quantity = unpack_int(in);
        line->shipped = unpack_int(in);
        line->cancelled = unpack_int(in);
    }
    for (uint32_t i = 0; i < e->allocation_count; i++) {
        struct allocation *a = &e->allocations[i];
        a->line = (uint32_t)unpack_uint(in);
        a->location = text_load(in, &at, end);
        a->quantity = unpack_int(in);
        in->failed |= a->line >= e->line_count;
    }
    return unpack_end(in);
}

static enum err order_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct orders_state *s = part;
    struct unpack in = unpack_of(bytes);
    struct order_entry e = {.id = id_of_key(key)};
    e.natural = unpack_hash(&in);
    e.captured_seq = unpack_uint(&in);
    e.last_seq = e.captured_seq + unpack_uint(&in);
    e.captured_us = unpack_int(&in);
    e.updated_us = e.captured_us + unpack_int(&in);
    e.version = (uint32_t)unpack_uint(&in);
    uint64_t state = unpack_uint(&in);
    e.posted = state & 1;
    e.state = (uint8_t)(state >> 1);
    in.failed |= e.state > ORDER_CANCELLED || e.version == 0;
    enum err err = in.failed ? ERR_DAMAGED : order_parts_load(&e, &in);
    *slot = err == OK ? entry_slot(s) : MAP_NONE;
    if (err == OK)
        err = *slot == MAP_NONE ? ERR_NOMEM : entry_put(s, *slot, &e);
    else
        mem_free(e.lines);
    return err;
}

static uint32_t order_slot(const void *part, struct hash128 key) {
    const struct orders_state *s = part;
    struct id128 id = id_of_key(key);
    return map_find(&s->by_id, id_hash(&id), id_eq, s, &id);
}

static void order_evict(void *part, uint32_t slot) {
    struct orders_state *s = part;
    struct order_entry *e = &s->orders[slot];
    must(map_remove(&s->by_id, id_hash(&e->id), slot));
    must(map_remove(&s->by_natural, e->natural.hi, slot));
    mem_free(e->lines);
    *e = (struct order_entry){.last_seq = s->free};
    s->free = slot + 1;
}

static size_t order_bytes(const void *part, uint32_t slot) {
    const struct order_entry *e = &((const struct orders_state *)part)->orders[slot];
    return sizeof *e + e->line_count * sizeof(struct line_entry) +
           e->allocation_count * sizeof(struct allocation) + e->text_bytes +
           60; /* the block's header, its places in two maps, marks and ring */
}

const struct entity_kind order_entity = {
    .name = "order", .flags = ENTITY_TIMED, .help = "Orders, and what is open of them",
    .load = order_load, .key = order_key, .save = order_save, .find = order_slot,
    .evict = order_evict, .bytes = order_bytes};
const struct entity_kind order_natural_entity = {
    .name = "order.natural", .flags = ENTITY_SPARSE,
    .help = "The hub's id of an order, by the channel's number"};

/* --- life ------------------------------------------------------------------------------------------ */

void orders_state_free(void *part) {
    struct orders_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        mem_free(s->orders[i].lines);
    mem_free(s->orders);
    map_free(&s->by_id);
    map_free(&s->by_natural);
}

void orders_dump(const void *part, struct buf *out) {
    const struct orders_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct order_entry *entry = &s->orders[i];
        char id[ID_TEXT_LEN];
        if (!entry->version)
            continue;
        id_write(id, entry->id);
        buf_printf(out, "ord_%.*s state=%s posted=%d version=%u seq=%llu..%llu updated=%lld",
                   ID_TEXT_LEN, id, order_states[entry->state], entry->posted, entry->version,
                   (unsigned long long)entry->captured_seq, (unsigned long long)entry->last_seq,
                   (long long)entry->updated_us);
        for (uint32_t k = 0; k < entry->line_count; k++) {
            const struct line_entry *line = &entry->lines[k];
            buf_printf(out, " %.*s:%.*s=%lld-%lld-%lld", STR_FMT(line->line_id), STR_FMT(line->sku),
                       (long long)line->quantity, (long long)line->shipped,
                       (long long)line->cancelled);
        }
        for (uint32_t k = 0; k < entry->allocation_count; k++) {
            const struct allocation *a = &entry->allocations[k];
            buf_printf(out, " %u@%.*s=%lld", a->line, STR_FMT(a->location), (long long)a->quantity);
        }
        buf_char(out, '\n');
    }
}
