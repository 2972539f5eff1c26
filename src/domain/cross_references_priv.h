/* The inside of cross_references: the entries and how they are found. cross_references.c decides,
 * cross_references_state.c keeps. */
#ifndef PENSTOCK_DOMAIN_CROSS_REFERENCES_PRIV_H
#define PENSTOCK_DOMAIN_CROSS_REFERENCES_PRIV_H

#include <pthread.h>

#include "base/map.h"
#include "domain/cross_references.h"

struct cross_entry {
    uint64_t seq; /* of the event that made it */
    char *texts; /* system, kind, value, code, one behind the other; NULL: a free slot */
    uint16_t system_len, kind_len, value_len, code_len;
    uint8_t direction;
    bool seen;  /* by readers: set when its batch is on disk */
    bool gone;  /* for the writer: readers see it until then */
    uint32_t version;
    uint32_t next_free; /* slot + 1 */
};

/* The writer alone changes anything, under the lock; readers on other threads hold it. */
struct cross_state {
    pthread_rwlock_t lock;
    struct cross_entry *items;
    uint32_t count, cap, free; /* slots ever used; allocated; slot + 1 */
    uint32_t live;             /* entries there are */
    size_t bytes;              /* of texts */
    struct map by_value, by_code; /* those that come in, those that go out */
    uint32_t *dirty; /* changed since the last publish */
    uint32_t dirty_count, dirty_cap;
};

extern const struct entity_kind cross_entity;

/* The entry as the writer sees it; NULL: there is none. Until the next change. */
const struct cross_entry *cross_find(const struct cross_state *s, struct str system, struct str kind,
                                     struct str text, bool out);
/* As a document; its texts are the entry's. */
struct cross_reference cross_document(const struct cross_entry *entry);
/* Its texts into the arena; false: memory is out. */
bool cross_copy(struct arena *arena, struct cross_reference *ref);
/* As cross_reference_find, the whole of it. ERR_NOT_FOUND, ERR_NOMEM. */
enum err cross_reference_get(const void *state, struct str system, struct str kind, struct str text,
                             bool out, struct arena *arena, struct cross_reference *found) WARN_UNUSED;
/* Takes the place of the entry with the same value (of the same code, where it goes out alone). */
enum err cross_put(struct state *state, const struct cross_reference *ref, uint64_t seq) WARN_UNUSED;
enum err cross_take(struct state *state, const struct cross_reference *ref) WARN_UNUSED;

enum err cross_state_init(void *part, const struct config *config) WARN_UNUSED;
void cross_state_free(void *part);
void cross_publish(void *part);
size_t cross_memory(const void *part);
void cross_dump(const void *part, struct buf *out);

#endif
