/* compare: whether a document's new table breaks those who know the old one.
 *
 * A document is taken (callers write it: what they may send must stay acceptable) or given (readers
 * get it: what they count on must stay there). One table may be both; then it is compared twice. */
#ifndef PENSTOCK_SHAPE_COMPARE_H
#define PENSTOCK_SHAPE_COMPARE_H

#include "shape/shape.h"

enum compare_rule {
#define RULE(symbol, slug, whom, instead) symbol,
#include "shape/compare.def"
#undef RULE
    RULE_COUNT
};
struct compare_rule_info {
    const char *slug, *whom, *instead;
};
/* Never NULL. */
const struct compare_rule_info *compare_rule_info(enum compare_rule rule);
/* By slug; RULE_COUNT where there is none. */
enum compare_rule compare_rule_find(struct str slug);

enum shape_use { SHAPE_TAKEN, SHAPE_GIVEN };

/* One finding: `pointer` ("/lines/0/sku", an item of a list as 0) and `detail` live as long as the
 * arena. */
struct compare_sink {
    void (*found)(void *ctx, enum compare_rule rule, struct str pointer, struct str detail);
    void *ctx;
    struct arena *arena;
};

/* Reports what breaks somebody; what is compatible (a new optional member, a wider bound of what is
 * taken) is passed over. Shapes are matched by the names of their members alone. */
void shape_compare(const struct shape *old, const struct shape *now, enum shape_use use,
                   const struct compare_sink *sink);

/* --- tables as text, to compare with later ---------------------------------------------------- */

/* "order":{"members":{"channel":{"kind":"code","required":true,"max":64},…}}: effective bounds, so
 * that a change of a kind's default is seen. The same table gives the same bytes. */
void shape_snapshot_write(const struct shape *shape, struct buf *out);
/* The shapes of {"order":{…},…} as tables, in the arena. ERR_INVALID with the place. */
struct shape_set {
    const struct shape **items;
    uint32_t count;
};
enum err shape_snapshot_read(const struct json *object, struct arena *arena, struct shape_set *out,
                             struct fault *fault) WARN_UNUSED;
const struct shape *shape_set_find(const struct shape_set *set, struct str name);

#endif
