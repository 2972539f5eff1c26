/* stock state: names, positions, movements, holds. See stock_priv.h. */
#include "domain/stock_priv.h"

#include <stdlib.h>

#include "base/decimal.h"
#include "base/hash.h"
#include "base/mem.h"

#define ARRAY_ROOM(items, count, cap) MEM_ROOM(items, count, cap, 4)

/* --- names --------------------------------------------------------------------------------------- */

static bool name_eq(const void *ctx, uint32_t index, const void *key) {
    return str_eq(((const struct names *)ctx)->items[index], *(const struct str *)key);
}
static uint64_t name_hash(const void *ctx, uint32_t index) {
    return hash64(((const struct names *)ctx)->items[index], 0);
}

uint32_t name_find(const struct names *names, struct str text) {
    return map_find(&names->map, hash64(text, 0), name_eq, names, &text);
}

static uint32_t name_make(struct names *names, struct str text) {
    uint32_t index = name_find(names, text);
    if (index != MAP_NONE)
        return index;
    if (!ARRAY_ROOM(names->items, names->count, names->cap))
        return MAP_NONE;
    struct str copy = arena_str(&names->arena, text);
    if (!copy.ptr)
        return MAP_NONE;
    names->items[names->count] = copy;
    if (!map_add(&names->map, hash64(copy, 0), names->count, name_hash, names))
        return MAP_NONE;
    return names->count++;
}

static void names_free(struct names *names) {
    mem_free(names->items);
    map_free(&names->map);
    arena_free(&names->arena);
}

/* --- positions ------------------------------------------------------------------------------------- */

static uint64_t position_key(uint32_t sku, uint32_t location) {
    uint64_t key = (uint64_t)sku << 32 | location;
    return hash64(str_of((const char *)&key, sizeof key), 0);
}
static bool position_eq(const void *ctx, uint32_t index, const void *key) {
    const struct position *p = &((const struct stock_state *)ctx)->positions[index];
    const uint32_t *wanted = key;
    return p->sku == wanted[0] && p->location == wanted[1];
}
static uint64_t position_hash(const void *ctx, uint32_t index) {
    const struct position *p = &((const struct stock_state *)ctx)->positions[index];
    return position_key(p->sku, p->location);
}

uint32_t position_find_ids(const struct stock_state *s, uint32_t sku, uint32_t location) {
    uint32_t key[2] = {sku, location};
    return map_find(&s->by_key, position_key(sku, location), position_eq, s, key);
}

uint32_t position_find(const struct stock_state *s, struct str sku, struct str location) {
    uint32_t sku_id = name_find(&s->skus, sku);
    uint32_t location_id = sku_id == MAP_NONE ? MAP_NONE : name_find(&s->locations, location);
    return location_id == MAP_NONE ? MAP_NONE : position_find_ids(s, sku_id, location_id);
}

static uint32_t position_new(struct stock_state *s, struct str sku, struct str location) {
    uint32_t sku_id = name_make(&s->skus, sku), location_id = name_make(&s->locations, location);
    if (sku_id == MAP_NONE || location_id == MAP_NONE ||
        !ARRAY_ROOM(s->positions, s->position_count, s->position_cap))
        return MAP_NONE;
    uint32_t index = s->position_count;
    s->positions[index] = (struct position){
        .sku = sku_id, .location = location_id, .counted_at_us = NEVER, .pruned_at_us = NEVER};
    if (!map_add(&s->by_key, position_key(sku_id, location_id), index, position_hash, s))
        return MAP_NONE;
    s->position_count++;
    return index;
}

uint32_t position_make(struct stock_state *s, struct str sku, struct str location) {
    uint32_t index = position_find(s, sku, location);
    if (index != MAP_NONE)
        return index;
    pthread_rwlock_wrlock(&s->lock);
    index = position_new(s, sku, location);
    pthread_rwlock_unlock(&s->lock);
    return index;
}

enum err position_touch(struct state *state, uint32_t position, uint32_t version) {
    struct stock_state *s = state_of(state, &stock_capability);
    struct position *p = &s->positions[position];
    p->version = version;
    if (!p->dirty) {
        if (!ARRAY_ROOM(s->dirty, s->dirty_count, s->dirty_cap))
            return ERR_NOMEM;
        s->dirty[s->dirty_count++] = position;
        p->dirty = true;
    }
    return entity_changed(state, &stock_position_entity, position);
}

void stock_publish(void *part) {
    struct stock_state *s = part;
    if (!s->dirty_count)
        return;
    pthread_rwlock_wrlock(&s->lock);
    for (uint32_t i = 0; i < s->dirty_count; i++) {
        struct position *p = &s->positions[s->dirty[i]];
        p->seen = p->now;
        p->version_seen = p->version;
        p->dirty = false;
    }
    pthread_rwlock_unlock(&s->lock);
    s->dirty_count = 0;
}

/* --- movements ---------------------------------------------------------------------------------------- */

static void movements_drop(struct movement_list *list, int64_t until_us) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < list->count; i++)
        if (list->items[i].at_us > until_us)
            list->items[kept++] = list->items[i];
    list->count = kept;
}

/* The position's list, made where it has none; NULL: memory is out. */
static struct movement_list *movements_of(struct stock_state *s, uint32_t position) {
    struct position *p = &s->positions[position];
    if (!p->movements) {
        if (!ARRAY_ROOM(s->lists, s->list_count, s->list_cap))
            return NULL;
        s->lists[s->list_count++] = (struct movement_list){0};
        p->movements = s->list_count;
    }
    return &s->lists[p->movements - 1];
}

static enum err movement_add(struct stock_state *s, uint32_t position, int64_t at_us,
                             int64_t delta) {
    struct movement_list *list = movements_of(s, position);
    if (!list || !ARRAY_ROOM(list->items, list->count, list->cap))
        return ERR_NOMEM;
    list->items[list->count++] = (struct movement){at_us, delta};
    return OK;
}

enum err position_move(struct stock_state *s, uint32_t position, int64_t at_us, int64_t delta) {
    struct position *p = &s->positions[position];
    struct movement_list *list = movements_of(s, position);
    if (!list)
        return ERR_NOMEM;
    if (list->count == list->cap && list->count > 0) {
        /* Before it grows: what lies behind the horizon can be forgotten. */
        int64_t until = at_us - s->horizon_us;
        uint32_t before = list->count;
        movements_drop(list, until);
        if (list->count < before && until > p->pruned_at_us)
            p->pruned_at_us = until;
    }
    return movement_add(s, position, at_us, delta);
}

void position_counted(struct stock_state *s, uint32_t position, int64_t at_us) {
    struct position *p = &s->positions[position];
    p->counted_at_us = at_us;
    if (p->movements)
        movements_drop(&s->lists[p->movements - 1], at_us);
}

int64_t position_moved_since(const struct stock_state *s, uint32_t position, int64_t at_us) {
    const struct position *p = &s->positions[position];
    int64_t sum = 0;
    if (p->movements) {
        const struct movement_list *list = &s->lists[p->movements - 1];
        for (uint32_t i = 0; i < list->count; i++)
            if (list->items[i].at_us > at_us)
                sum += list->items[i].delta;
    }
    return sum;
}

/* --- holds ---------------------------------------------------------------------------------------------- */

static bool hold_eq(const void *ctx, uint32_t index, const void *key) {
    return memcmp(&((const struct stock_state *)ctx)->holds[index].id, key, ID_BYTES) == 0;
}
static uint64_t hold_hash_id(const struct id128 *id) {
    return hash64(str_of((const char *)id->bytes, ID_BYTES), 0);
}
static uint64_t hold_hash(const void *ctx, uint32_t index) {
    return hold_hash_id(&((const struct stock_state *)ctx)->holds[index].id);
}

uint32_t hold_find(const struct stock_state *s, struct str reservation_id) {
    struct id128 id;
    if (!id_parse(reservation_id, "res_", &id))
        return MAP_NONE;
    return map_find(&s->holds_by_id, hold_hash_id(&id), hold_eq, s, &id);
}

/* By expiry, then by id, so that ties fall the same way at every run. */
static bool hold_before(const struct stock_state *s, uint32_t a, uint32_t b) {
    const struct hold *x = &s->holds[a], *y = &s->holds[b];
    if (x->expires_us != y->expires_us)
        return x->expires_us < y->expires_us;
    return memcmp(&x->id, &y->id, ID_BYTES) < 0;
}

static void heap_set(struct stock_state *s, uint32_t place, uint32_t hold) {
    s->heap[place] = hold;
    s->holds[hold].heap = place;
}

static void heap_up(struct stock_state *s, uint32_t place) {
    uint32_t hold = s->heap[place];
    while (place > 0 && hold_before(s, hold, s->heap[(place - 1) / 2])) {
        heap_set(s, place, s->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_set(s, place, hold);
}

static void heap_down(struct stock_state *s, uint32_t place) {
    uint32_t hold = s->heap[place];
    for (;;) {
        uint32_t child = place * 2 + 1;
        if (child >= s->heap_count)
            break;
        if (child + 1 < s->heap_count && hold_before(s, s->heap[child + 1], s->heap[child]))
            child++;
        if (!hold_before(s, s->heap[child], hold))
            break;
        heap_set(s, place, s->heap[child]);
        place = child;
    }
    heap_set(s, place, hold);
}

static void heap_remove(struct stock_state *s, uint32_t place) {
    uint32_t last = s->heap[--s->heap_count];
    if (place == s->heap_count)
        return;
    heap_set(s, place, last);
    heap_up(s, place);
    heap_down(s, s->holds[last].heap);
}

/* Takes the items over. MAP_NONE: memory is out, they stay the caller's. */
static uint32_t hold_put(struct stock_state *s, struct id128 id, int64_t expires_us,
                         struct hold_item *items, uint32_t count) {
    if (!ARRAY_ROOM(s->heap, s->heap_count, s->heap_cap) ||
        !ARRAY_ROOM(s->holds, s->hold_count, s->hold_cap))
        return MAP_NONE;
    uint32_t index = s->free_count ? s->free_holds[s->free_count - 1] : s->hold_count;
    s->holds[index] = (struct hold){id, expires_us, items, count, s->heap_count};
    if (!map_add(&s->holds_by_id, hold_hash_id(&id), index, hold_hash, s)) {
        s->holds[index] = (struct hold){.heap = MAP_NONE};
        return MAP_NONE;
    }
    if (s->free_count)
        s->free_count--;
    else
        s->hold_count++;
    s->heap[s->heap_count++] = index;
    heap_up(s, s->heap_count - 1);
    return index;
}

enum err hold_add(struct state *state, struct id128 id, int64_t expires_us,
                  const struct stock_event *event) {
    struct stock_state *s = state_of(state, &stock_capability);
    uint32_t count = event->changes.count;
    struct hold_item *items = mem_zalloc((size_t)count * sizeof *items);
    if (!items)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++) {
        const struct stock_change *change = list_at(event->changes, struct stock_change, i);
        items[i].position = position_find(s, change->sku, change->location);
        items[i].quantity = change->held;
        must(items[i].position != MAP_NONE);
    }
    uint32_t index = hold_put(s, id, expires_us, items, count);
    if (index == MAP_NONE) {
        mem_free(items);
        return ERR_NOMEM;
    }
    return entity_changed(state, &stock_hold_entity, index);
}

static void hold_remove(struct stock_state *s, uint32_t index) {
    struct hold *hold = &s->holds[index];
    heap_remove(s, hold->heap);
    must(map_remove(&s->holds_by_id, hold_hash_id(&hold->id), index));
    mem_free(hold->items);
    *hold = (struct hold){.heap = MAP_NONE};
    if (ARRAY_ROOM(s->free_holds, s->free_count, s->free_cap))
        s->free_holds[s->free_count++] = index; /* else the slot is lost, nothing more */
}

enum err hold_take(struct state *state, uint32_t index, uint32_t position, int64_t quantity) {
    struct stock_state *s = state_of(state, &stock_capability);
    struct hold *hold = &s->holds[index];
    bool left = false;
    for (uint32_t i = 0; i < hold->item_count; i++) {
        struct hold_item *item = &hold->items[i];
        if (item->position == position && quantity > 0) {
            int64_t take = item->quantity < quantity ? item->quantity : quantity;
            item->quantity -= take;
            quantity -= take;
        }
        left |= item->quantity > 0;
    }
    must(quantity == 0);
    if (left)
        return entity_changed(state, &stock_hold_entity, index);
    enum err err = entity_gone(state, &stock_hold_entity, index);
    hold_remove(s, index);
    return err;
}

/* --- as bytes ------------------------------------------------------------------------------------------- */

/* By SKU first, so that the positions of one lie together. */
static struct hash128 position_entity_key(const void *part, uint32_t slot) {
    const struct stock_state *s = part;
    const struct position *p = &s->positions[slot];
    struct str sku = s->skus.items[p->sku];
    return (struct hash128){.hi = hash64(sku, 0),
                            .lo = hash64(s->locations.items[p->location], hash64(sku, 1))};
}

static void values_pack(struct buf *out, const struct stock_values *v) {
    pack_int(out, v->on_hand);
    pack_int(out, v->held);
    pack_int(out, v->committed);
}

static void position_save(const void *part, uint32_t slot, struct buf *out) {
    const struct stock_state *s = part;
    const struct position *p = &s->positions[slot];
    pack_str(out, s->skus.items[p->sku]);
    pack_str(out, s->locations.items[p->location]);
    values_pack(out, &p->now);
    pack_uint(out, p->version);
    pack_int(out, p->counted_at_us);
    pack_int(out, p->pruned_at_us);
    const struct movement_list *list = p->movements ? &s->lists[p->movements - 1] : NULL;
    pack_uint(out, list ? list->count : 0);
    for (uint32_t i = 0; list && i < list->count; i++) {
        pack_int(out, list->items[i].at_us);
        pack_int(out, list->items[i].delta);
    }
}

static enum err movements_load(struct stock_state *s, uint32_t position, struct unpack *in) {
    uint64_t count = unpack_uint(in);
    enum err err = OK;
    if (count > (uint64_t)(in->end - in->at))
        return ERR_DAMAGED;
    for (uint64_t i = 0; i < count && err == OK; i++) {
        int64_t at_us = unpack_int(in);
        err = movement_add(s, position, at_us, unpack_int(in));
    }
    return err;
}

static enum err position_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct stock_state *s = part;
    (void)key;
    struct unpack in = unpack_of(bytes);
    struct str sku = unpack_str(&in), location = unpack_str(&in);
    if (in.failed || position_find(s, sku, location) != MAP_NONE)
        return ERR_DAMAGED;
    uint32_t index = position_make(s, sku, location);
    if (index == MAP_NONE)
        return ERR_NOMEM;
    struct position *p = &s->positions[index];
    p->now.on_hand = unpack_int(&in);
    p->now.held = unpack_int(&in);
    p->now.committed = unpack_int(&in);
    p->version = (uint32_t)unpack_uint(&in);
    p->counted_at_us = unpack_int(&in);
    p->pruned_at_us = unpack_int(&in);
    p->seen = p->now;
    p->version_seen = p->version;
    *slot = index;
    enum err err = movements_load(s, index, &in);
    return err == OK ? unpack_end(&in) : err;
}

static struct hash128 hold_entity_key(const void *part, uint32_t slot) {
    return id_key(((const struct stock_state *)part)->holds[slot].id);
}

static void hold_save(const void *part, uint32_t slot, struct buf *out) {
    const struct stock_state *s = part;
    const struct hold *hold = &s->holds[slot];
    pack_int(out, hold->expires_us);
    pack_uint(out, hold->item_count);
    for (uint32_t i = 0; i < hold->item_count; i++) {
        const struct position *p = &s->positions[hold->items[i].position];
        pack_str(out, s->skus.items[p->sku]);
        pack_str(out, s->locations.items[p->location]);
        pack_int(out, hold->items[i].quantity);
    }
}

static enum err hold_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct stock_state *s = part;
    struct unpack in = unpack_of(bytes);
    int64_t expires_us = unpack_int(&in);
    uint64_t count = unpack_uint(&in);
    if (in.failed || count > bytes.len)
        return ERR_DAMAGED;
    struct hold_item *items = mem_zalloc((size_t)(count + 1) * sizeof *items);
    if (!items)
        return ERR_NOMEM;
    for (uint64_t i = 0; i < count; i++) {
        struct str sku = unpack_str(&in), location = unpack_str(&in);
        items[i].position = position_find(s, sku, location); /* positions come before holds */
        items[i].quantity = unpack_int(&in);
        in.failed |= items[i].position == MAP_NONE;
    }
    enum err err = unpack_end(&in);
    if (err == OK)
        *slot = hold_put(s, id_of_key(key), expires_us, items, (uint32_t)count);
    if (err == OK && *slot == MAP_NONE)
        err = ERR_NOMEM;
    if (err != OK)
        mem_free(items);
    return err;
}

const struct entity_kind stock_position_entity = {
    .name = "stock.position", .flags = ENTITY_RESIDENT, .help = "What is where",
    .load = position_load, .key = position_entity_key, .save = position_save};
const struct entity_kind stock_hold_entity = {
    .name = "stock.hold", .flags = ENTITY_RESIDENT, .help = "Reservations of carts",
    .load = hold_load, .key = hold_entity_key, .save = hold_save};

size_t stock_memory(const void *part) {
    const struct stock_state *s = part;
    return s->position_count * (sizeof(struct position) + 20) + s->skus.count * (size_t)64 +
           s->list_count * (sizeof(struct movement_list) + 4 * sizeof(struct movement)) +
           s->hold_count * (sizeof(struct hold) + 32);
}

/* --- life -------------------------------------------------------------------------------------------------- */

enum err stock_state_init(void *part, const struct config *config) {
    struct stock_state *s = part;
    pthread_rwlock_init(&s->lock, NULL);
    arena_init(&s->skus.arena, SIZE_MAX / 4);
    arena_init(&s->locations.arena, SIZE_MAX / 4);
    s->horizon_us = config->settings.count_horizon_hours * INT64_C(3600) * 1000000;
    return OK;
}

void stock_state_free(void *part) {
    struct stock_state *s = part;
    for (uint32_t i = 0; i < s->hold_count; i++)
        mem_free(s->holds[i].items);
    for (uint32_t i = 0; i < s->list_count; i++)
        mem_free(s->lists[i].items);
    names_free(&s->skus);
    names_free(&s->locations);
    mem_free(s->positions);
    mem_free(s->dirty);
    mem_free(s->lists);
    mem_free(s->holds);
    mem_free(s->free_holds);
    mem_free(s->heap);
    map_free(&s->by_key);
    map_free(&s->holds_by_id);
    pthread_rwlock_destroy(&s->lock);
}

struct dump_line {
    struct str sku, location;
    const struct position *position;
};
static int dump_order(const void *a, const void *b) {
    const struct dump_line *x = a, *y = b;
    int order = str_cmp(x->sku, y->sku);
    return order ? order : str_cmp(x->location, y->location);
}

static void dump_position(const struct stock_state *s, const struct dump_line *line,
                          struct buf *out) {
    const struct position *p = line->position;
    buf_printf(out, "%.*s@%.*s version=%u on_hand=", STR_FMT(line->sku), STR_FMT(line->location),
               p->version);
    decimal_write(out, p->now.on_hand, QTY_SCALE);
    buf_lit(out, " held=");
    decimal_write(out, p->now.held, QTY_SCALE);
    buf_lit(out, " committed=");
    decimal_write(out, p->now.committed, QTY_SCALE);
    buf_printf(out, " counted_at=%lld pruned_at=%lld published=%d", (long long)p->counted_at_us,
               (long long)p->pruned_at_us,
               memcmp(&p->now, &p->seen, sizeof p->now) == 0);
    if (p->movements) {
        const struct movement_list *list = &s->lists[p->movements - 1];
        for (uint32_t i = 0; i < list->count; i++)
            buf_printf(out, " %lld:%lld", (long long)list->items[i].at_us,
                       (long long)list->items[i].delta);
    }
    buf_char(out, '\n');
}

static void dump_holds(const struct stock_state *s, struct buf *out) {
    /* Earliest first: a copy of the heap, emptied by repeated minimum. */
    bool *done = mem_zalloc(s->hold_count + 1);
    if (!done) {
        out->failed = true;
        return;
    }
    for (uint32_t n = 0; n < s->heap_count; n++) {
        uint32_t best = MAP_NONE;
        for (uint32_t i = 0; i < s->heap_count; i++)
            if (!done[s->heap[i]] && (best == MAP_NONE || hold_before(s, s->heap[i], best)))
                best = s->heap[i];
        const struct hold *hold = &s->holds[best];
        char id[ID_TEXT_LEN];
        done[best] = true;
        id_write(id, hold->id);
        buf_printf(out, "hold res_%.*s expires=%lld", ID_TEXT_LEN, id, (long long)hold->expires_us);
        for (uint32_t i = 0; i < hold->item_count; i++) {
            const struct position *p = &s->positions[hold->items[i].position];
            buf_printf(out, " %.*s@%.*s=%lld", STR_FMT(s->skus.items[p->sku]),
                       STR_FMT(s->locations.items[p->location]),
                       (long long)hold->items[i].quantity);
        }
        buf_char(out, '\n');
    }
    mem_free(done);
}

void stock_dump(const void *part, struct buf *out) {
    const struct stock_state *s = part;
    struct dump_line *lines = mem_zalloc(((size_t)s->position_count + 1) * sizeof *lines);
    if (!lines) {
        out->failed = true;
        return;
    }
    for (uint32_t i = 0; i < s->position_count; i++)
        lines[i] = (struct dump_line){s->skus.items[s->positions[i].sku],
                                      s->locations.items[s->positions[i].location],
                                      &s->positions[i]};
    qsort(lines, s->position_count, sizeof *lines, dump_order);
    for (uint32_t i = 0; i < s->position_count; i++)
        dump_position(s, &lines[i], out);
    dump_holds(s, out);
    mem_free(lines);
}
