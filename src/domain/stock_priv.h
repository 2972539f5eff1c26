/* The inside of stock: positions and holds. stock.c decides and applies; stock_state.c keeps
 * the tables; stock_query.c answers availability. */
#ifndef PENSTOCK_DOMAIN_STOCK_PRIV_H
#define PENSTOCK_DOMAIN_STOCK_PRIV_H

#include <pthread.h>

#include "base/map.h"
#include "domain/stock.h"

/* Strings by number, for ever; texts never move. */
struct names {
    struct str *items;
    uint32_t count, cap;
    struct map map;
    struct arena arena;
};

struct stock_values {
    int64_t on_hand, held, committed;
};

struct movement {
    int64_t at_us, delta; /* of on hand */
};

/* 88 bytes: there may be millions. */
struct position {
    uint32_t sku, location; /* in skus, locations */
    uint32_t movements;     /* in movement_lists, index + 1 */
    uint32_t version, version_seen; /* 0: nothing known yet */
    bool dirty;             /* changed since it was published */
    int64_t counted_at_us;  /* of the newest count */
    int64_t pruned_at_us;   /* movements up to then are forgotten */
    struct stock_values now;  /* writer only */
    struct stock_values seen; /* under lock */
};
#define NEVER INT64_MIN

struct movement_list {
    struct movement *items; /* in order of arrival */
    uint32_t count, cap;
};

struct hold_item {
    uint32_t position;
    int64_t quantity; /* left */
};
struct hold {
    struct id128 id;
    int64_t expires_us;
    struct hold_item *items;
    uint32_t item_count;
    uint32_t heap; /* place in the heap; MAP_NONE when gone */
};

/* Writer alone changes anything; readers on other threads look at names, positions' keys and
 * `seen`, under lock, which the writer takes when these change. */
struct stock_state {
    pthread_rwlock_t lock;
    struct names skus, locations;
    struct position *positions;
    uint32_t position_count, position_cap;
    struct map by_key;
    uint32_t *dirty;
    uint32_t dirty_count, dirty_cap;
    /* Writer only: */
    struct movement_list *lists;
    uint32_t list_count, list_cap;
    struct hold *holds; /* a slot is reused once gone */
    uint32_t hold_count, hold_cap;
    uint32_t *free_holds;
    uint32_t free_count, free_cap;
    struct map holds_by_id;
    uint32_t *heap; /* holds by expiry, earliest first */
    uint32_t heap_count, heap_cap;
    int64_t horizon_us;
};

extern const struct entity_kind stock_position_entity, stock_hold_entity;

enum err stock_state_init(void *part, const struct config *config);
void stock_state_free(void *part);
void stock_publish(void *part);
void stock_dump(const void *part, struct buf *out);
size_t stock_memory(const void *part);

uint32_t name_find(const struct names *names, struct str text); /* MAP_NONE: unknown */
uint32_t position_find(const struct stock_state *s, struct str sku, struct str location);
uint32_t position_find_ids(const struct stock_state *s, uint32_t sku, uint32_t location);
/* Finds or makes; MAP_NONE when memory is out. */
uint32_t position_make(struct stock_state *s, struct str sku, struct str location);
/* Marks for publishing and for the shelf, and sets the version. */
enum err position_touch(struct state *state, uint32_t position, uint32_t version) WARN_UNUSED;
/* A movement of on hand: remembered for late counts. */
enum err position_move(struct stock_state *s, uint32_t position, int64_t at_us, int64_t delta)
    WARN_UNUSED;
/* A count took place: what moved up to then is in it. */
void position_counted(struct stock_state *s, uint32_t position, int64_t at_us);
/* Sum of movements after `at_us`. */
int64_t position_moved_since(const struct stock_state *s, uint32_t position, int64_t at_us);

uint32_t hold_find(const struct stock_state *s, struct str reservation_id);
enum err hold_add(struct state *state, struct id128 id, int64_t expires_us,
                  const struct stock_event *event) WARN_UNUSED;
/* Takes from a hold's item at a position; the hold goes when nothing is left. */
enum err hold_take(struct state *state, uint32_t hold, uint32_t position, int64_t quantity)
    WARN_UNUSED;

extern const struct shape availability_shape;

#endif
