/* demo_erp_sandbox: the ERP of a demo as a stand-in of our own (`penstock sandbox erp`): slow, with faults
 * and lost answers all day, down for a while. Needs nothing but this program. */
#include "cli/demo_priv.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>

#define START_MS 20000
#define ASK_TIMEOUT_MS 800
#define PAGES_MAX 10000

static enum err sandbox_start(struct demo *demo, struct fault *fault) {
    char seed[32], books[PATH_MAX];
    snprintf(seed, sizeof seed, "%" PRId64, demo->seed);
    if ((size_t)snprintf(books, sizeof books, "%s/erp.books", demo->dir) >= sizeof books)
        return fault_set(fault, ERR_IO, "the path is too long");
    const char *const arguments[] = {
        "sandbox", "erp", "--listen", "127.0.0.1:0", "--books", books, "--latency-ms",
        demo->fast ? "10-40" : "50-400", "--fail-rate", "3%", "--ambiguous-rate", "3%", "--seed",
        seed, NULL};
    demo->erp.name = "a slow ERP with faults";
    enum err err = demo_child_start(&demo->erp, arguments, NULL, fault);
    if (err == OK)
        err = demo_child_ready(&demo->erp, START_MS, fault);
    if (err != OK)
        return err;
    snprintf(demo->erp_environment[0], sizeof demo->erp_environment[0], "GENERIC_ERP_URL=%s",
             demo->erp.url);
    demo->erp_client = client_create(demo->erp.url, "");
    return demo->erp_client ? OK : fault_set(fault, ERR_NOMEM, "out of memory");
}

static enum err outage_begin(struct demo *demo, struct fault *fault) {
    char body[64];
    struct client_answer answer;
    snprintf(body, sizeof body, "{\"outage_s\":%" PRId64 "}", demo->outage_ms / 1000);
    struct client_request request = {.method = "POST", .path = "/control", .body = str_c(body)};
    enum err err = client_call(demo->erp_client, &request, &demo->cli->arena, &answer, fault);
    if (err != OK)
        return err;
    demo_say(demo, "The ERP goes down for %" PRId64 " seconds. Shops and tills go on selling.",
             demo->outage_ms / 1000);
    return answer.status < 300 ? OK : fault_set(fault, ERR_INTERNAL, "the sandbox ERP refused an "
                                                                      "outage: %d", answer.status);
}

static enum err outage_end(struct demo *demo, struct fault *fault) {
    (void)fault;
    demo_say(demo, "The ERP is back. What waited is posted, order by order.");
    return OK;
}

static void sandbox_course(struct demo *demo) {
    demo_event_add(demo, demo->outage_at_ms, outage_begin);
    demo_event_add(demo, demo->kill_at_ms, demo_hub_kill);
    demo_event_add(demo, demo->outage_at_ms + demo->outage_ms, outage_end);
}

static bool sandbox_posted(struct demo *demo, struct arena *arena, uint64_t *count) {
    struct client_answer answer;
    struct fault fault = {0};
    struct client_request request = {.path = "/totals", .timeout_ms = ASK_TIMEOUT_MS};
    if (client_call(demo->erp_client, &request, arena, &answer, &fault) != OK ||
        answer.status != 200 || !answer.json || answer.json->kind != JSON_OBJECT)
        return false;
    const struct json *orders = json_member(answer.json, STR("orders"));
    return orders && str_u64(orders->text, count);
}

static enum err sandbox_books(struct demo *demo, struct arena *arena,
                              bool (*take)(void *ctx, const struct demo_booking *booking), void *ctx,
                              struct fault *fault) {
    struct buf url;
    enum err err = OK;
    bool more = true;
    buf_init(&url, 0);
    buf_lit(&url, "/orders?limit=1000");
    for (uint32_t page = 0; err == OK && more && page < PAGES_MAX; page++) {
        struct client_answer answer;
        arena_reset(arena);
        err = client_get(demo->erp_client, buf_cstr(&url), arena, &answer, fault);
        if (err != OK)
            break;
        const struct json *items = json_member(answer.json, STR("items"));
        const struct json *item = items && items->kind == JSON_ARRAY ? json_first(items) : NULL;
        for (uint32_t i = 0; err == OK && item && i < items->count; i++, item = json_next(item)) {
            struct demo_booking booking = {.channel = json_member_str(item, STR("channel")),
                                           .number = json_member_str(item, STR("channel_reference")),
                                           .currency = json_member_str(item, STR("currency")),
                                           .grand = json_member_str(item, STR("grand"))};
            if (!take(ctx, &booking))
                err = fault_set(fault, ERR_UPSTREAM, "the ERP answers an order that can not be read");
        }
        const struct json *at = json_member(answer.json, STR("next_after"));
        more = at && at->kind != JSON_NULL;
        if (!more)
            break;
        buf_clear(&url);
        buf_lit(&url, "/orders?limit=1000&after=");
        client_encode(&url, at->text);
    }
    buf_free(&url);
    return err;
}

static int64_t count_of(const struct json *counts, const char *name) {
    const struct json *value = counts ? json_member(counts, str_c(name)) : NULL;
    int64_t count = 0;
    return value && json_i64(value, &count) ? count : 0;
}

static void sandbox_tell(struct demo *demo) {
    struct client_answer answer;
    struct fault fault = {0};
    if (client_get(demo->erp_client, "/control", &demo->cli->arena, &answer, &fault) != OK)
        return;
    const struct json *counts = json_member(answer.json, STR("counts"));
    fprintf(demo->tell, "The ERP failed %" PRId64 " times; %" PRId64 " times it booked an order and "
                        "its answer got lost: the hub looked\nwhether the order was there before it "
                        "sent anything again (%" PRId64 " look-ups).\n",
            count_of(counts, "failed"), count_of(counts, "dropped"), count_of(counts, "lookups"));
}

static void sandbox_stop(struct demo *demo) { demo_child_stop(&demo->erp, SIGTERM, 5000); }

const struct demo_erp demo_erp_sandbox = {
    .name = "sandbox",
    .orders = 900,
    .orders_fast = 150,
    .drain_ms = 120000,
    .drain_fast_ms = 30000,
    .start = sandbox_start,
    .course = sandbox_course,
    .posted = sandbox_posted,
    .books = sandbox_books,
    .tell = sandbox_tell,
    .stop = sandbox_stop,
};
