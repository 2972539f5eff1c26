/* limit_stage: where the limits meet a call: before its credentials are looked at, when it is known
 * who calls, when it is whole, with each line of a bulk call, and in its answer's headers.
 *
 * What holds: probes and /metrics are never limited. Who has not shown good credentials lately is
 * counted by address, so that trying keys is bounded, while those behind the same address who have
 * some are not kept out. */
#include "gateway/gateway_priv.h"

#include <arpa/inet.h>

#include "base/hash.h"

static bool exempt(const struct call *call) {
    return call->match.entry->route->flags & ROUTE_NEVER_SHED;
}

static enum err refused(struct call *call, enum err err, int64_t wait_us) {
    if (err != OK)
        call->retry_after_s = (int)((wait_us + 999999) / 1000000);
    return err;
}

/* The bytes by which an address is known: all 4, or the first 8 of 16: who has an IPv6 address
 * has a /64 (RFC 6177). */
static struct str address_of(struct call *call, unsigned char bytes[16]) {
    char text[HTTP_ADDRESS_CHARS], name[HTTP_ADDRESS_CHARS];
    struct str address = http_exchange_address(call->ex, text);

    if (address.len >= sizeof name)
        return STR("");
    memcpy(name, address.ptr, address.len);
    name[address.len] = '\0';
    if (inet_pton(AF_INET, name, bytes) == 1)
        return str_of((char *)bytes, 4);
    if (inet_pton(AF_INET6, name, bytes) != 1)
        return STR("");
    return memcmp(bytes, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12) == 0 ? str_of((char *)bytes + 12, 4)
                                                                  : str_of((char *)bytes, 8);
}

static void find(struct call *call, const struct limit_who *who) {
    struct limit_where where = {.route = call->match.entry->index, .traffic = call->traffic};

    limit_find(call->loop->limits, who, &where, &call->limits);
}

static void find_address(struct call *call) {
    unsigned char bytes[16];
    struct limit_who who = {.by = LIMIT_BY_ADDRESS, .id = address_of(call, bytes)};

    find(call, &who);
}

/* Takes what the call needs, all but the lines of a bulk call. */
static enum err take(struct call *call) {
    struct gateway_loop *loop = call->loop;
    bool lines = call->traffic == CLASS_BULK && call->match.entry->route->flags & ROUTE_BULK;
    const struct settings *settings = &call->gateway->config->settings;
    int64_t slow_us = loop->slowed_count < (uint64_t)settings->limit_slowed_max && !lines
                          ? settings->limit_slow_ms * 1000
                          : 0;
    int64_t wait_us;
    enum err err = limit_ask_slow(loop->limits, &call->limits, lines ? LIMIT_CALLS : LIMIT_ANY,
                                  slow_us, &wait_us, &call->fault);

    if (err == OK && wait_us > 0)
        call->slow_until_us = clock_tick_us(call->gateway->clock) + wait_us;
    return refused(call, err, wait_us);
}

static uint64_t *known_place(struct call *call, uint64_t *id) {
    struct str given = http_request_header(http_exchange_request(call->ex), "Authorization");

    *id = hash64(given, call->gateway->known_seed) | 1;
    return given.ptr ? &call->loop->known[*id / 2 % LIMIT_KNOWN] : NULL;
}

static enum err guard_address(struct call *call) {
    int64_t wait_us;

    find_address(call);
    return refused(call, limit_may(call->loop->limits, &call->limits, &wait_us, &call->fault),
                   wait_us);
}

/* Webhooks are the connector's; what names none is nobody's. */
static enum err guard_webhook(struct call *call) {
    struct roster *roster = call->gateway->options.roster;
    struct limit_who who = {.by = LIMIT_BY_CONNECTOR, .id = call->match.args[0],
                            .name = call->match.args[0]};
    enum err err = guard_address(call);

    if (err != OK)
        return err;
    call->limits.count = 0;
    if (!roster || !roster_has(roster, who.id))
        return OK;
    find(call, &who);
    return take(call);
}

enum err limit_guard(struct call *call) {
    const struct route_entry *entry = call->match.entry;
    uint64_t id, *known;
    enum err err;

    if (exempt(call) && entry->scope == ROUTE_OPEN)
        return OK;
    if (hub_route_receives(entry->route))
        return guard_webhook(call);
    if (entry->scope == ROUTE_OPEN) {
        find_address(call);
        return take(call);
    }
    known = known_place(call, &id);
    if (known && *known == id)
        return OK;
    err = guard_address(call);
    if (err == OK)
        call->limits.count = 0; /* not what the answer speaks of */
    return err;
}

void limit_failed(struct call *call) {
    struct fault ignored = {0};
    int64_t wait_us;

    find_address(call);
    if (limit_ask_for(call->loop->limits, &call->limits, LIMIT_ANY, &wait_us, &ignored) != OK)
        call->limits.count = 0; /* this one is answered all the same, the next is not */
}

void limit_passed(struct call *call) {
    uint64_t id, *known = known_place(call, &id);

    if (known)
        *known = id;
}

enum err limit_caller(struct call *call) {
    const struct principal *principal = call->principal;
    struct limit_who who = {.by = LIMIT_BY_CALLER, .id = principal->actor,
                            .name = principal->name, .scopes = principal->scopes};

    if (exempt(call))
        return OK;
    find(call, &who);
    return take(call);
}

/* --- waiting for one's turn ----------------------------------------------------------------- */

bool limit_slowed(struct call *call) {
    struct gateway_loop *loop = call->loop;

    if (call->slow_until_us == 0 ||
        clock_tick_us(call->gateway->clock) >= call->slow_until_us)
        return false;
    call->next = loop->slowed;
    loop->slowed = call;
    loop->slowed_count++;
    loop_tick_set(loop);
    return true;
}

void limit_slowed_tick(struct gateway_loop *loop) {
    int64_t now_us = clock_tick_us(loop->gateway->clock);
    bool draining = atomic_load(&loop->gateway->draining);
    struct call **at = &loop->slowed, *call, *due = NULL;

    while ((call = *at)) {
        if (now_us < call->slow_until_us && !draining) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        call->next = due;
        due = call;
        loop->slowed_count--;
    }
    while ((call = due)) {
        due = call->next;
        call->slow_until_us = 0;
        call_handle(call->ex, call->gateway);
    }
    loop_tick_set(loop);
}

/* --- lines and headers ----------------------------------------------------------------------- */

enum err limit_line(struct call *call, int64_t *wait_us, struct fault *fault) {
    enum err err = limit_ask_for(call->loop->limits, &call->limits, LIMIT_DOCUMENTS, wait_us, fault);

    if (err != OK && limit_refused_by_quota(call->loop->limits, &call->limits))
        *wait_us = 0;
    return err;
}

void limit_headers(struct call *call) {
    struct buf *out = &call->loop->limit_text;

    if (call->limits.count == 0)
        return;
    buf_clear(out);
    limit_policy_write(call->loop->limits, &call->limits, out);
    http_answer_header(call->ex, STR("RateLimit-Policy"), buf_str(out));
    buf_clear(out);
    limit_left_write(call->loop->limits, &call->limits, out);
    http_answer_header(call->ex, STR("RateLimit"), buf_str(out));
}
