/* expected: see expected.h. Owns nothing. */
#include "ops/expected.h"

#include <inttypes.h>

#include "base/clock.h"
#include "connect/expect.h"
#include "ops/connectors.h"

static const char *const directions[] = {"in", "out", NULL};
static const char *const states[] = {"absent", "watched", "resting", NULL};

static const struct shape_field expected_rows[] = {
    SHAPE_SAID("connector", SHAPE_ID, "Whose", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("name", SHAPE_ID, "Of the topic or the subscription", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("direction", SHAPE_ENUM, "in: messages of a topic; out: deliveries of a subscription",
               .flags = SHAPE_REQUIRED, .values = directions),
    SHAPE_SAID("state", SHAPE_ENUM,
               "absent: too little came, a case is open; watched: it counts now; resting: outside the hours that count",
               .flags = SHAPE_REQUIRED, .values = states),
    SHAPE_COUNT("at_least", "So many should come …"),
    SHAPE_COUNT("every_s", "… within so many seconds of the hours that count"),
    SHAPE_COUNT("came", "Of those so far"),
    SHAPE_MAYBE("last_at", SHAPE_INSTANT, "The newest since the start"),
    SHAPE_MAYBE("deadline_at", SHAPE_INSTANT,
          "By when the rest must come; null: it is absent already, or not known yet"),
    SHAPE_MAYBE("absent_since", SHAPE_INSTANT, "Since when it does not; null: it does"),
    SHAPE_MAYBE("backstop", SHAPE_ID, "The poll that brings what this webhook did not"),
    SHAPE_COUNT("repaired", "What it brought so, since the start"),
    SHAPE_MAYBE("repaired_at", SHAPE_INSTANT, "The newest of it"),
};
SHAPE_DEFINE_SAID(expected_shape, "expected_traffic", "Traffic that should come or go", expected_rows);

struct repairs {
    struct str backstop;
    uint64_t count;
    int64_t at_us;
};

/* Of all polls that stand behind this topic. */
static struct repairs repairs_of(const struct connector *connector, struct str topic) {
    struct repairs repairs = {0};
    for (uint32_t i = 0; i < connector->taken_count; i++) {
        const struct connector_receive *poll = connector->taken[i];
        if (!poll->backstop.len || !str_eq(poll->backstop, topic))
            continue;
        const struct traffic_topic *t = traffic_find(&connector->counters->traffic, poll->topic);
        int64_t at_us = t ? atomic_load(&t->repaired_us) : 0;
        repairs.backstop = poll->topic;
        repairs.count += t ? counter_read(&t->repaired) : 0;
        repairs.at_us = at_us > repairs.at_us ? at_us : repairs.at_us;
    }
    return repairs;
}

struct expected_list {
    struct buf *out;
    uint32_t count;
};

/* `found` NULL: nothing was counted yet. */
static void item_write(struct expected_list *list, struct str connector, struct str name, bool in,
                       const struct connector_expect *e, const struct traffic_topic *found,
                       const struct repairs *repairs) {
    static const struct traffic_topic none;
    const struct traffic_topic *t = found ? found : &none;
    struct buf *out = list->out;
    int64_t now_us = clock_now_us(&clock_system), absent_us = atomic_load(&t->absent_us);
    int64_t left_us = atomic_load(&t->left_us);
    buf_str_add(out, list->count++ > 0 ? STR(",{\"connector\":") : STR("{\"connector\":"));
    buf_json_str(out, connector);
    buf_json_member(out, "name", name);
    buf_printf(out, ",\"direction\":\"%s\",\"state\":\"%s\"", directions[!in],
               states[absent_us ? 0 : expect_open(e, now_us) ? 1 : 2]);
    buf_printf(out, ",\"at_least\":%" PRId64 ",\"every_s\":%" PRId64 ",\"came\":%" PRIu64, e->at_least, e->every_s,
               atomic_load(&t->came));
    instant_member(out, "last_at", atomic_load(&t->received_us));
    instant_member(out, "deadline_at", absent_us || left_us <= 0 ? 0 : expect_deadline_us(e, now_us, left_us));
    instant_member(out, "absent_since", absent_us);
    buf_json_member(out, "backstop", repairs->backstop);
    buf_printf(out, ",\"repaired\":%" PRIu64, repairs->count);
    instant_member(out, "repaired_at", repairs->at_us);
    buf_char(out, '}');
}

static void connector_write(struct expected_list *list, const struct connector *c) {
    for (uint32_t i = 0; i < c->taken_count; i++) {
        const struct connector_receive *take = c->taken[i];
        struct repairs repairs = repairs_of(c, take->topic);
        if (take->expect)
            item_write(list, c->name, take->topic, true, take->expect,
                       traffic_find(&c->counters->traffic, take->topic), &repairs);
    }
    for (uint32_t i = 0; i < c->send.count; i++) {
        const struct connector_send *send = list_at(c->send, struct connector_send, i);
        if (send->expect && send->enabled && !send->missing.len)
            item_write(list, c->name, send->subscription, false, send->expect,
                       traffic_find(&c->counters->sent, send->subscription), &(struct repairs){0});
    }
}

enum err expected_query(struct query *query, struct fault *fault) {
    struct connectors_desk *desk = query->ctx;
    const struct connectors *set = roster_take(desk->roster);
    struct expected_list list = {.out = query->out};
    list_begin(query->out);
    for (uint32_t i = 0; i < set->count; i++)
        connector_write(&list, set->items[i]);
    list_end(query->out, STR_NONE);
    connectors_release(set);
    return OK;
}
