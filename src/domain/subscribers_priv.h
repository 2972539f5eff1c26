/* The inside of subscribers: subscribers.c decides, subscribers_state.c keeps, subscribers_routes.c
 * answers. */
#ifndef PENSTOCK_DOMAIN_SUBSCRIBERS_PRIV_H
#define PENSTOCK_DOMAIN_SUBSCRIBERS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "domain/subscribers.h"

struct subscriber_own {
    struct subscriber_entry entry; /* first */
    struct arena arena;
    _Atomic uint32_t users;
};

/* The writer changes `items`; others see `shown`, as of the last commit, under the lock. Both are
 * sorted by name. */
struct subscribers_state {
    pthread_mutex_t lock;
    struct subscriber_own **items, **shown;
    uint32_t count, cap, shown_count;
    bool changed;
    _Atomic uint64_t version;
};

extern const struct entity_kind subscriber_entity;
enum err subscribers_init(void *part, const struct config *config) WARN_UNUSED;
void subscribers_free(void *part);
void subscribers_publish(void *part);
void subscribers_dump(const void *part, struct buf *out);
size_t subscribers_memory(const void *part);

/* All it points to into the arena, without the secret; false: memory is out. */
bool subscriber_copy(struct arena *arena, const struct subscriber *from, struct subscriber *to);
/* As the writer sees it; NULL: there is none. */
const struct subscriber_entry *subscriber_now(const struct subscribers_state *s, struct str name);
enum err subscriber_put(struct state *state, const struct subscriber *doc, uint64_t seq) WARN_UNUSED;
enum err subscriber_drop(struct state *state, struct str name) WARN_UNUSED;

extern const struct shape subscriber_tested_shape;
extern const struct route subscriber_routes[];
extern const struct command_type subscriber_create_command, subscriber_change_command,
    subscriber_delete_command, subscriber_rotate_command, subscriber_test_command;

/* Whether webhooks may go there; NULL: they may, else why not. */
const char *subscriber_url_wrong(struct str url, bool private_too);

#endif
