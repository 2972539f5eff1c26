/* demo_erp_tryton: the ERP of a demo as a real one: Tryton on PostgreSQL, brought up, stopped and killed by
 * the project's script peers/tryton/peer.sh, and read over its own JSON-RPC interface
 * (https://docs.tryton.org/projects/server/en/6.0/topics/). Owns nothing of it but a session. */
#include "cli/demo_priv.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/encode.h"
#include "retail/money.h"

#define ASK_TIMEOUT_MS 1500
#define ASK_EVERY_MS 2000 /* counting its books costs the ERP what an order does */
#define PAGE 500
#define PAGES_MAX 1000
#define HANG_MS(demo) ((demo)->fast ? 2000 : 8000)

static struct tryton {
    char script[PATH_MAX];
    char user[64], password[128];
    char path[128];           /* of the database, behind the address: "/retail/" */
    char authorization[1024]; /* header of a session; "": none */
    int64_t asked_ms;
    uint32_t stopped, killed, hung;
} tryton;

/* --- the script ------------------------------------------------------------------------- */

static bool script_in(const char *folder) {
    char path[PATH_MAX];
    return (size_t)snprintf(path, sizeof path, "%s/tryton/peer.sh", folder) < sizeof path &&
           realpath(path, tryton.script) != NULL;
}

/* The project's folder peers/: named, in the working directory, beside the program's folder. */
static enum err script_find(struct fault *fault) {
    const char *named = getenv("PENSTOCK_PEERS");
    char self[PATH_MAX], beside[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (named && named[0])
        return script_in(named) ? OK : fault_set(fault, ERR_NOT_FOUND, "PENSTOCK_PEERS: there is no "
                                                 "%s/tryton/peer.sh", named);
    if (script_in("peers"))
        return OK;
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash) {
        *slash = '\0';
        if ((size_t)snprintf(beside, sizeof beside, "%s/../peers", self) < sizeof beside &&
            script_in(beside))
            return OK;
    }
    return fault_set(fault, ERR_NOT_FOUND, "peers/tryton/peer.sh is not here: run `make demo ERP=tryton` "
                     "in the project's folder, or name its folder peers/ in PENSTOCK_PEERS");
}

static enum err peer(struct demo *demo, const char *command, const char *argument, struct buf *out,
                     struct fault *fault) {
    const char *const arguments[] = {tryton.script, command, argument, NULL};
    struct buf ignored;
    buf_init(&ignored, 1 << 20);
    int code = demo_child_run("/bin/bash", arguments, NULL, demo->erp.log, out ? out : &ignored);
    buf_free(&ignored);
    return code == 0 ? OK : fault_set(fault, ERR_UNAVAILABLE, "peer.sh %s failed (%d), see %s", command,
                                      code, demo->erp.log);
}

/* The value of a line "name=value" that `up` printed. */
static void fact_take(struct str text, const char *name, char *out, size_t size) {
    size_t len = strlen(name);
    out[0] = '\0';
    while (text.len > 0) {
        struct str line = str_cut(&text, '\n');
        if (line.len > len && line.ptr[len] == '=' && memcmp(line.ptr, name, len) == 0)
            snprintf(out, size, "%.*s", (int)(line.len - len - 1), line.ptr + len + 1);
    }
}

/* --- its interface ---------------------------------------------------------------------- */

static enum err rpc(struct demo *demo, struct arena *arena, const char *method, const char *params,
                    long timeout_ms, const struct json **result, struct fault *fault) {
    struct client_answer answer;
    struct str body = arena_printf(arena, "{\"id\":1,\"method\":\"%s\",\"params\":%s}", method, params);
    const char *const headers[] = {tryton.authorization, NULL};
    struct client_request request = {.method = "POST", .path = tryton.path, .body = body,
                                     .headers = tryton.authorization[0] ? headers : NULL,
                                     .timeout_ms = timeout_ms};
    if (!body.ptr)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    enum err err = client_call(demo->erp_client, &request, arena, &answer, fault);
    if (err != OK)
        return err;
    bool object = answer.status == 200 && answer.json && answer.json->kind == JSON_OBJECT;
    *result = object ? json_member(answer.json, STR("result")) : NULL;
    return *result ? OK : fault_set(fault, ERR_UPSTREAM, "Tryton answered %s with %d: %.*s", method,
                                    answer.status, (int)(answer.body.len < 200 ? answer.body.len : 200),
                                    answer.body.len ? answer.body.ptr : "");
}

static enum err sign_in(struct demo *demo, struct arena *arena, struct fault *fault) {
    const struct json *result;
    struct str params = arena_printf(arena, "[\"%s\",{\"password\":\"%s\"},\"en\"]", tryton.user,
                                     tryton.password);
    tryton.authorization[0] = '\0';
    if (!params.ptr)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    enum err err = rpc(demo, arena, "common.db.login", params.ptr, 0, &result, fault);
    if (err != OK)
        return err;
    if (result->kind != JSON_ARRAY || result->count != 2)
        return fault_set(fault, ERR_UPSTREAM, "Tryton does not let the user %s in", tryton.user);
    struct buf text;
    buf_init(&text, sizeof tryton.authorization / 2);
    const struct json *user = json_first(result);
    buf_printf(&text, "%s:%.*s:%.*s", tryton.user, STR_FMT(user->text),
               STR_FMT(json_next(user)->text));
    struct buf header;
    buf_init(&header, sizeof tryton.authorization - 1);
    buf_lit(&header, "Authorization: Session ");
    base64_write(&header, buf_str(&text));
    snprintf(tryton.authorization, sizeof tryton.authorization, "%s", buf_cstr(&header));
    buf_free(&header);
    buf_free(&text);
    return OK;
}

/* --- up and down ------------------------------------------------------------------------ */

static enum err tryton_start(struct demo *demo, struct fault *fault) {
    struct buf facts;
    char url[256];
    enum err err = script_find(fault);
    if (err != OK)
        return err;
    demo_say(demo, "Tryton is brought up: a few seconds; two minutes where its database is still to be made.");
    buf_init(&facts, 1 << 16);
    err = peer(demo, "restore", NULL, NULL, fault);
    if (err == OK)
        err = peer(demo, "up", NULL, &facts, fault);
    if (err == OK)
        err = peer(demo, "configure", demo->config, NULL, fault);
    fact_take(buf_str(&facts), "url", url, sizeof url);
    fact_take(buf_str(&facts), "user", tryton.user, sizeof tryton.user);
    fact_take(buf_str(&facts), "password", tryton.password, sizeof tryton.password);
    buf_free(&facts);
    if (err != OK)
        return err;
    char *path = strncmp(url, "http://", 7) == 0 ? strchr(url + 7, '/') : NULL;
    if (!path || !tryton.password[0])
        return fault_set(fault, ERR_INTERNAL, "peer.sh up did not tell where Tryton is");
    snprintf(demo->erp_environment[0], sizeof demo->erp_environment[0], "TRYTON_URL=%s", url);
    snprintf(demo->erp_environment[1], sizeof demo->erp_environment[1], "TRYTON_PASSWORD=%s",
             tryton.password);
    snprintf(tryton.path, sizeof tryton.path, "%s", path);
    *path = '\0';
    snprintf(demo->erp.url, sizeof demo->erp.url, "%s", url);
    demo->erp.name = "Tryton, a real ERP,";
    demo->erp_client = client_create(url, "");
    if (!demo->erp_client)
        return fault_set(fault, ERR_NOMEM, "out of memory");
    return sign_in(demo, &demo->cli->arena, fault);
}

static void tryton_stop(struct demo *demo) {
    struct fault fault = {0};
    if (tryton.script[0] && peer(demo, "stop", NULL, NULL, &fault) != OK)
        fprintf(stderr, "%s\n", fault.detail);
}

/* --- its troubles ----------------------------------------------------------------------- */

static enum err hang(struct demo *demo, struct fault *fault) {
    demo_say(demo, "Tryton hangs: it takes what it is sent, and answers nothing for %d seconds.",
             HANG_MS(demo) / 1000);
    tryton.hung++;
    return peer(demo, "pause", NULL, NULL, fault);
}

static enum err hang_end(struct demo *demo, struct fault *fault) {
    demo_say(demo, "Tryton goes on where it was.");
    return peer(demo, "resume", NULL, NULL, fault);
}

static enum err outage_begin(struct demo *demo, struct fault *fault) {
    demo_say(demo, "Tryton is stopped for %" PRId64 " seconds. Shops and tills go on selling.",
             demo->outage_ms / 1000);
    tryton.stopped++;
    return peer(demo, "down", NULL, NULL, fault);
}

static enum err outage_end(struct demo *demo, struct fault *fault) {
    demo_say(demo, "Tryton is started again.");
    enum err err = peer(demo, "up", NULL, NULL, fault);
    if (err == OK)
        demo_say(demo, "Tryton is back. What waited is posted, order by order.");
    return err;
}

static enum err kill_and_back(struct demo *demo, struct fault *fault) {
    demo_say(demo, "Tryton is killed in the middle of its work (kill -9), and started again.");
    tryton.killed++;
    enum err err = peer(demo, "kill", NULL, NULL, fault);
    if (err == OK)
        err = peer(demo, "up", NULL, NULL, fault);
    if (err == OK)
        demo_say(demo, "Tryton is back. What it had begun is looked for before anything is sent again.");
    return err;
}

static void tryton_course(struct demo *demo) {
    if (demo->fast) {
        demo->feed_ms = 15000;
        demo->outage_at_ms = 4000;
        demo->outage_ms = 4000;
        demo->kill_at_ms = 6000;
    } else {
        demo->outage_at_ms = 20000;
        demo->outage_ms = 30000;
        demo->kill_at_ms = 35000;
    }
    int64_t hang_ms = demo->fast ? 1000 : 5000;
    demo_event_add(demo, hang_ms, hang);
    demo_event_add(demo, hang_ms + HANG_MS(demo), hang_end);
    demo_event_add(demo, demo->outage_at_ms, outage_begin);
    demo_event_add(demo, demo->kill_at_ms, demo_hub_kill);
    demo_event_add(demo, demo->outage_at_ms + demo->outage_ms, outage_end);
    demo_event_add(demo, demo->feed_ms * 4 / 5, kill_and_back);
}

/* --- its books -------------------------------------------------------------------------- */

static bool tryton_posted(struct demo *demo, struct arena *arena, uint64_t *count) {
    const struct json *result;
    struct fault fault = {0};
    int64_t now_ms = demo_elapsed_ms(demo);
    if (now_ms - tryton.asked_ms < ASK_EVERY_MS)
        return false;
    tryton.asked_ms = now_ms;
    return rpc(demo, arena, "model.account.invoice.search_count",
               "[[[\"type\",\"=\",\"out\"],[\"state\",\"=\",\"posted\"]],{\"company\":1}]", ASK_TIMEOUT_MS,
               &result, &fault) == OK &&
           str_u64(result->text, count);
}

/* The sum of a sale's posted invoices; false where an amount can not be read. */
static bool invoiced(const struct json *sale, struct str currency, int64_t *sum) {
    const struct json *invoices = json_member(sale, STR("invoices."));
    const struct json *item = invoices && invoices->kind == JSON_ARRAY ? json_first(invoices) : NULL;
    *sum = 0;
    for (uint32_t i = 0; item && i < invoices->count; i++, item = json_next(item)) {
        const struct json *total = json_member(item, STR("total_amount"));
        struct str state = json_member_str(item, STR("state"));
        int64_t amount;
        if (!str_eq(state, STR("posted")) && !str_eq(state, STR("paid")))
            continue;
        if (!total || total->kind != JSON_OBJECT ||
            !money_parse(json_member_str(total, STR("decimal")), currency, &amount))
            return false;
        *sum += amount;
    }
    return true;
}

static bool sale_take(const struct json *sale, struct arena *arena,
                      bool (*take)(void *ctx, const struct demo_booking *booking), void *ctx) {
    const struct json *currency = json_member(sale, STR("currency."));
    struct str number = json_member_str(sale, STR("description")); /* "web-de 10045" */
    struct demo_booking booking = {.channel = str_cut(&number, ' '), .number = number};
    struct buf text;
    int64_t sum;
    if (!currency || currency->kind != JSON_OBJECT)
        return false;
    booking.currency = json_member_str(currency, STR("code"));
    if (!invoiced(sale, booking.currency, &sum))
        return false;
    buf_init(&text, 64);
    money_write(&text, sum, booking.currency);
    booking.grand = arena_str(arena, buf_str(&text));
    buf_free(&text);
    return booking.grand.ptr && take(ctx, &booking);
}

static enum err tryton_books(struct demo *demo, struct arena *arena,
                             bool (*take)(void *ctx, const struct demo_booking *booking), void *ctx,
                             struct fault *fault) {
    enum err err = sign_in(demo, arena, fault);
    uint32_t count = PAGE;
    for (uint32_t page = 0; err == OK && count == PAGE && page < PAGES_MAX; page++) {
        const struct json *result;
        char params[400];
        snprintf(params, sizeof params, "[[],%u,%d,[[\"id\",\"ASC\"]],[\"description\",\"currency.code\","
                 "\"invoices.state\",\"invoices.total_amount\"],{\"company\":1}]", page * PAGE, PAGE);
        arena_reset(arena);
        err = rpc(demo, arena, "model.sale.sale.search_read", params, 60000, &result, fault);
        if (err == OK && result->kind != JSON_ARRAY)
            err = fault_set(fault, ERR_UPSTREAM, "Tryton answers no list of sales");
        if (err != OK)
            break;
        count = result->count;
        const struct json *sale = json_first(result);
        for (uint32_t i = 0; err == OK && i < count; i++, sale = json_next(sale))
            if (!sale_take(sale, arena, take, ctx))
                err = fault_set(fault, ERR_UPSTREAM, "Tryton answers a sale that can not be read");
    }
    return err;
}

static void tryton_tell(struct demo *demo) {
    fprintf(demo->tell, "Tryton hung %u times, was stopped %u times and killed %u times; what was under way then "
                        "was looked\nfor before it was sent again (%" PRIu64 " look-ups).\n",
            tryton.hung, tryton.stopped, tryton.killed, demo->status.looked_up);
}

const struct demo_erp demo_erp_tryton = {
    .name = "tryton",
    .orders = 240,
    .orders_fast = 60,
    .drain_ms = 120000,
    .drain_fast_ms = 90000,
    .start = tryton_start,
    .course = tryton_course,
    .posted = tryton_posted,
    .books = tryton_books,
    .tell = tryton_tell,
    .stop = tryton_stop,
};
