/* orders state: entries by hub id and by natural key. See orders_priv.h. */
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

uint32_t order_find(const struct orders_state *s, struct str order_id) {
    struct id128 id;
    if (!id_parse(order_id, "ord_", &id))
        return MAP_NONE;
    return map_find(&s->by_id, id_hash(&id), id_eq, s, &id);
}

uint32_t order_find_natural(const struct orders_state *s, struct str channel,
                            struct str channel_order_id) {
    struct hash128 key = natural_hash(channel, channel_order_id);
    return map_find(&s->by_natural, key.hi, natural_eq, s, &key);
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

/* Lines, allocations and their texts in one block. */
static enum err entry_fill(struct order_entry *entry, const struct order_captured *e) {
    const struct shape_list *lines = &e->order->lines, *taken = &e->reservations;
    size_t size = lines->count * sizeof(struct line_entry) +
                  taken->count * sizeof(struct allocation);
    for (uint32_t i = 0; i < lines->count; i++) {
        const struct order_line *line = list_at(*lines, struct order_line, i);
        size += line->line_id.len + line->sku.len;
    }
    for (uint32_t i = 0; i < taken->count; i++)
        size += list_at(*taken, struct order_reservation, i)->location.len;
    char *block = mem_alloc(size);
    if (!block)
        return ERR_NOMEM;
    entry->lines = (struct line_entry *)(void *)block;
    entry->allocations =
        (struct allocation *)(void *)(block + lines->count * sizeof(struct line_entry));
    entry->line_count = lines->count;
    char *at = (char *)(entry->allocations + taken->count);
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
        entry->allocation_count++;
    }
    return OK;
}

enum err order_add(struct orders_state *s, const struct event *event) {
    const struct order_captured *e = event->data;
    if (s->count == s->cap) {
        uint32_t cap = s->cap ? s->cap * 2 : 256;
        struct order_entry *orders =
            s->cap < UINT32_MAX / 4 ? mem_resize(s->orders, (size_t)cap * sizeof *orders) : NULL;
        if (!orders)
            return ERR_NOMEM;
        s->orders = orders;
        s->cap = cap;
    }
    struct order_entry *entry = &s->orders[s->count];
    *entry = (struct order_entry){
        .natural = natural_hash(e->order->channel, e->order->channel_order_id),
        .captured_seq = event->seq,
        .last_seq = event->seq,
        .captured_us = event->time_us,
        .updated_us = event->time_us,
        .version = (uint32_t)e->version,
        .state = (uint8_t)e->state,
    };
    must(id_parse(e->order_id, "ord_", &entry->id));
    enum err err = entry_fill(entry, e);
    if (err != OK)
        return err;
    uint32_t index = s->count++;
    if (!map_add(&s->by_id, id_hash(&entry->id), index, id_hash_of, s) ||
        !map_add(&s->by_natural, entry->natural.hi, index, natural_hash_of, s))
        return ERR_NOMEM;
    return OK;
}

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
    for (uint32_t i = 0; i < s->count; i++) { /* in the order of capture: of the journal */
        const struct order_entry *entry = &s->orders[i];
        char id[ID_TEXT_LEN];
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
