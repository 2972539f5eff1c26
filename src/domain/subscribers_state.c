/* subscribers_state: the entries of subscribers (subscribers.h): few, each written anew as a whole
 * when it changes, so that readers on other threads keep what they have. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "domain/subscribers_priv.h"

static struct subscriber_own *own_of(const struct subscriber_entry *entry) {
    return (struct subscriber_own *)(uintptr_t)entry;
}

const struct subscriber_entry *subscriber_take(const struct subscriber_entry *entry) {
    must(atomic_fetch_add(&own_of(entry)->users, 1) > 0);
    return entry;
}

void subscriber_release(const struct subscriber_entry *entry) {
    if (!entry || atomic_fetch_sub(&own_of(entry)->users, 1) > 1)
        return;
    arena_free(&own_of(entry)->arena);
    mem_free(own_of(entry));
}

static struct subscriber_own *own_new(uint64_t seq) {
    struct subscriber_own *own = mem_zalloc(sizeof *own);
    if (!own)
        return NULL;
    arena_init(&own->arena, 0);
    own->users = 1;
    own->entry.seq = seq;
    return own;
}

/* --- copies ---------------------------------------------------------------------------------- */

static bool text_copy(struct arena *arena, struct str *text) {
    if (!text->ptr)
        return true;
    *text = arena_str(arena, *text);
    return text->ptr != NULL;
}

static bool texts_copy(struct arena *arena, struct shape_list *list) {
    const struct str *from = list->items;
    if (!list->count)
        return true;
    struct str *to = arena_array(arena, list->count, sizeof *to);
    bool good = to != NULL;
    for (uint32_t i = 0; i < list->count && good; i++) {
        to[i] = from[i];
        good = text_copy(arena, &to[i]);
    }
    list->items = to;
    return good;
}

static bool keys_copy(struct arena *arena, struct shape_list *list) {
    const struct subscriber_key *from = list->items;
    if (!list->count)
        return true;
    struct subscriber_key *to = arena_array(arena, list->count, sizeof *to);
    bool good = to != NULL;
    for (uint32_t i = 0; i < list->count && good; i++) {
        to[i] = from[i];
        good = text_copy(arena, &to[i].id);
    }
    list->items = to;
    return good;
}

bool subscriber_copy(struct arena *arena, const struct subscriber *from, struct subscriber *to) {
    *to = *from;
    to->secret = STR_NONE;
    to->stopped = NULL;
    to->has &= ~(UINT64_C(1) << SUBSCRIBER_SECRET | UINT64_C(1) << SUBSCRIBER_STATE |
                 UINT64_C(1) << SUBSCRIBER_STOPPED_AS);
    return text_copy(arena, &to->name) && text_copy(arena, &to->url) &&
           texts_copy(arena, &to->events) && texts_copy(arena, &to->keys) &&
           text_copy(arena, &to->owner) && text_copy(arena, &to->description) &&
           text_copy(arena, &to->delivery) && text_copy(arena, &to->created_by) && keys_copy(arena, &to->secrets);
}

/* --- changes --------------------------------------------------------------------------------- */

/* Its place, or where it belongs. */
static uint32_t place(struct subscriber_own *const *items, uint32_t count, struct str name,
                      bool *there) {
    uint32_t low = 0, high = count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (str_cmp(items[middle]->entry.doc.name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *there = low < count && str_eq(items[low]->entry.doc.name, name);
    return low;
}

const struct subscriber_entry *subscriber_now(const struct subscribers_state *s, struct str name) {
    bool there;
    uint32_t at = place(s->items, s->count, name, &there);
    return there ? &s->items[at]->entry : NULL;
}

/* Each version has a key of its own: it may be that both are written in one go. */
static struct hash128 key_of(uint64_t seq) { return entity_number_key(0, seq); }

static enum err add(struct subscribers_state *s, struct subscriber_own *own) {
    bool there;
    uint32_t at = place(s->items, s->count, own->entry.doc.name, &there);
    if (there) {
        subscriber_release(&s->items[at]->entry);
        s->items[at] = own;
    } else {
        if (!MEM_ROOM(s->items, s->count, s->cap, 16))
            return ERR_NOMEM;
        memmove(s->items + at + 1, s->items + at, (s->count - at) * sizeof *s->items);
        s->items[at] = own;
        s->count++;
    }
    s->changed = true;
    return OK;
}

enum err subscriber_put(struct state *state, const struct subscriber *doc, uint64_t seq) {
    struct subscribers_state *s = state_of(state, &subscribers_capability);
    const struct subscriber_entry *old = subscriber_now(s, doc->name);
    struct subscriber_own *own = own_new(seq);
    struct buf bytes;
    if (!own)
        return ERR_NOMEM;
    buf_init(&bytes, 0);
    shape_encode(&subscriber_shape, doc, &bytes);
    enum err err = buf_ok(&bytes) && subscriber_copy(&own->arena, doc, &own->entry.doc) ? OK : ERR_NOMEM;
    if (err == OK && old)
        err = entity_drop(state, &subscriber_entity, key_of(old->seq));
    if (err == OK)
        err = entity_put(state, &subscriber_entity, key_of(seq), buf_str(&bytes));
    if (err == OK)
        err = add(s, own);
    buf_free(&bytes);
    if (err != OK)
        subscriber_release(&own->entry);
    return err;
}

enum err subscriber_drop(struct state *state, struct str name) {
    struct subscribers_state *s = state_of(state, &subscribers_capability);
    bool there;
    uint32_t at = place(s->items, s->count, name, &there);
    if (!there)
        return OK;
    enum err err = entity_drop(state, &subscriber_entity, key_of(s->items[at]->entry.seq));
    if (err != OK)
        return err;
    subscriber_release(&s->items[at]->entry);
    s->count--;
    memmove(s->items + at, s->items + at + 1, (s->count - at) * sizeof *s->items);
    s->changed = true;
    return OK;
}

static enum err subscriber_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct subscribers_state *s = part;
    struct json_parser *parser = json_parser_create();
    struct subscriber_own *own = own_new(key.lo);
    struct arena arena;
    struct fault fault = {0};
    const struct json *doc;
    void *loaded;
    (void)slot;
    arena_init(&arena, 0);
    enum err err = parser && own ? json_parse(parser, &arena, bytes, false, &doc, &fault) : ERR_NOMEM;
    if (err == OK)
        err = shape_load(&subscriber_shape, doc, &arena, &loaded, &fault);
    if (err == OK)
        err = subscriber_copy(&own->arena, loaded, &own->entry.doc) ? add(s, own) : ERR_NOMEM;
    arena_free(&arena);
    json_parser_destroy(parser);
    if (err != OK && own)
        subscriber_release(&own->entry);
    return err == OK || err == ERR_NOMEM ? err : ERR_DAMAGED;
}

const struct entity_kind subscriber_entity = {
    .name = "subscriber", .flags = ENTITY_RESIDENT,
    .help = "Subscriptions that others made", .load = subscriber_load};

/* --- for others ------------------------------------------------------------------------------ */

/* By what there is, not by how often that changed: a state that was built anew, of which others may have seen
 * more or less, has the same version where it is the same, and another one where it is not. */
static uint64_t version_of(const struct subscribers_state *s) {
    uint64_t version = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t seq = s->items[i]->entry.seq;
        version = hash64(str_of((const char *)&seq, sizeof seq), version + 1);
    }
    return version;
}

/* Where memory is out, others see what they saw before, and the next commit tries again. */
void subscribers_publish(void *part) {
    struct subscribers_state *s = part;
    if (!s->changed)
        return;
    struct subscriber_own **shown = mem_alloc((s->count + 1) * sizeof(struct subscriber_own *));
    if (!shown)
        return;
    for (uint32_t i = 0; i < s->count; i++) {
        (void)subscriber_take(&s->items[i]->entry);
        shown[i] = s->items[i];
    }
    pthread_mutex_lock(&s->lock);
    struct subscriber_own **before = s->shown;
    uint32_t count = s->shown_count;
    s->shown = shown;
    s->shown_count = s->count;
    pthread_mutex_unlock(&s->lock);
    s->changed = false;
    atomic_store(&s->version, version_of(s));
    for (uint32_t i = 0; i < count; i++)
        subscriber_release(&before[i]->entry);
    mem_free(before);
}

uint64_t subscribers_version(const void *part) {
    return atomic_load(&((struct subscribers_state *)(uintptr_t)part)->version);
}

enum err subscribers_all(const void *part, const struct subscriber_entry ***out, uint32_t *count) {
    struct subscribers_state *s = (struct subscribers_state *)(uintptr_t)part;
    pthread_mutex_lock(&s->lock);
    *count = s->shown_count;
    *out = mem_alloc((s->shown_count + 1) * sizeof(struct subscriber_entry *));
    for (uint32_t i = 0; *out && i < s->shown_count; i++)
        (*out)[i] = subscriber_take(&s->shown[i]->entry);
    pthread_mutex_unlock(&s->lock);
    return *out ? OK : ERR_NOMEM;
}

const struct subscriber_entry *subscriber_find(const void *part, struct str name) {
    struct subscribers_state *s = (struct subscribers_state *)(uintptr_t)part;
    const struct subscriber_entry *found = NULL;
    bool there;
    pthread_mutex_lock(&s->lock);
    uint32_t at = place(s->shown, s->shown_count, name, &there);
    if (there)
        found = subscriber_take(&s->shown[at]->entry);
    pthread_mutex_unlock(&s->lock);
    return found;
}

/* --- life ------------------------------------------------------------------------------------ */

enum err subscribers_init(void *part, const struct config *config) {
    struct subscribers_state *s = part;
    (void)config;
    pthread_mutex_init(&s->lock, NULL);
    s->changed = false;
    return OK;
}

void subscribers_free(void *part) {
    struct subscribers_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        subscriber_release(&s->items[i]->entry);
    for (uint32_t i = 0; i < s->shown_count; i++)
        subscriber_release(&s->shown[i]->entry);
    mem_free(s->items);
    mem_free(s->shown);
    pthread_mutex_destroy(&s->lock);
}

size_t subscribers_memory(const void *part) {
    return ((const struct subscribers_state *)part)->count * (size_t)4096;
}

void subscribers_dump(const void *part, struct buf *out) {
    const struct subscribers_state *s = part;
    for (uint32_t i = 0; i < s->count; i++) {
        shape_encode(&subscriber_shape, &s->items[i]->entry.doc, out);
        buf_printf(out, " seq=%llu\n", (unsigned long long)s->items[i]->entry.seq);
    }
}
