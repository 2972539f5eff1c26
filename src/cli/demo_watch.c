/* demo_watch: how far hub and ERP are, on the terminal: one line that is redrawn where there is
 * a person, a plain line now and then elsewhere. Asks both over HTTP, as anyone could. */
#include "cli/demo_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define ASK_TIMEOUT_MS 800
#define PLAIN_EVERY_MS 5000
#define PLAIN_EVERY_FAST_MS 2000

/* Counters that begin anew when the hub does, added up over its lives. */
struct counter {
    uint64_t before, now;
};
static struct watch {
    struct arena arena;
    bool arena_made, line_shown;
    int64_t told_ms;
    struct counter failed, looked_up;
} watch;

static void counter_set(struct counter *counter, uint64_t value) {
    if (value < counter->now)
        counter->before += counter->now;
    counter->now = value;
}
static uint64_t counter_sum(const struct counter *counter) {
    return counter->before + counter->now;
}

static uint64_t member_u64(const struct json *object, const char *name) {
    const struct json *value = json_member(object, str_c(name));
    uint64_t number = 0;
    return value && str_u64(value->text, &number) ? number : 0;
}

/* --- asking ----------------------------------------------------------------------------- */

static bool ask(struct client *client, const char *path, struct client_answer *answer) {
    struct fault fault = {0};
    struct client_request request = {.path = path, .timeout_ms = ASK_TIMEOUT_MS};
    return client_call(client, &request, &watch.arena, answer, &fault) == OK &&
           answer->status == 200 && answer->json && answer->json->kind == JSON_OBJECT;
}

static void hub_ask(struct demo *demo) {
    struct client_answer answer;
    struct demo_status *status = &demo->status;
    status->hub_up = ask(demo->client, "/ops/subscriptions", &answer);
    const struct json *items = status->hub_up ? json_member(answer.json, STR("items")) : NULL;
    if (!items || items->kind != JSON_ARRAY)
        return;
    const struct json *item = json_first(items);
    uint64_t failed = 0, looked_up = 0;
    status->held = 0;
    status->erp_up = true;
    for (uint32_t i = 0; i < items->count; i++, item = json_next(item)) {
        failed += member_u64(item, "failed");
        looked_up += member_u64(item, "looked_up");
        status->held += member_u64(item, "held");
        if (str_eq(json_member_str(item, STR("state")), STR("unreachable")))
            status->erp_up = false;
    }
    counter_set(&watch.failed, failed);
    counter_set(&watch.looked_up, looked_up);
    status->retried = counter_sum(&watch.failed);
    status->looked_up = counter_sum(&watch.looked_up);
    status->known = true;
}

/* --- telling ---------------------------------------------------------------------------- */

static void line_clear(const struct demo *demo) {
    if (watch.line_shown && demo->tty)
        fputs("\r\x1b[K", stdout);
    watch.line_shown = false;
}

void demo_say(struct demo *demo, const char *fmt, ...) {
    va_list args;
    line_clear(demo);
    if (demo->began_us > 0)
        fprintf(demo->tell, "%5.1f s  ", (double)demo_elapsed_ms(demo) / 1000);
    va_start(args, fmt);
    vfprintf(demo->tell, fmt, args);
    va_end(args);
    fputc('\n', demo->tell);
    fflush(demo->tell);
}

/* Columns of the terminal; 0 where nobody knows. */
static unsigned terminal_columns(void) {
    struct winsize size = {0};
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static void line_show(struct demo *demo) {
    const struct demo_status *s = &demo->status;
    uint64_t waiting = s->captured > s->posted + s->held ? s->captured - s->posted - s->held : 0;
    char text[256];
    int len = snprintf(text, sizeof text,
                       "%5.1f s  captured %" PRIu64 ", waiting %" PRIu64
                       ", posted %" PRIu64 ", retried %" PRIu64 ", looked up %" PRIu64
                       ", held %" PRIu64 "; hub %s, ERP ",
                       (double)demo_elapsed_ms(demo) / 1000, s->captured, waiting, s->posted,
                       s->retried, s->looked_up, s->held, s->hub_up ? "UP" : "DOWN");
    unsigned columns = demo->tty ? terminal_columns() : 0;
    if (columns > 5 && (unsigned)len + 5 > columns) /* a line that wraps can not be redrawn */
        fprintf(demo->tell, "%.*s", (int)columns - 1, text);
    else
        fprintf(demo->tell, "%s%s%s%s", text,
                !demo->colour ? "" : s->erp_up ? "\x1b[32m" : "\x1b[31m",
                s->erp_up ? "UP" : "DOWN", demo->colour ? "\x1b[0m" : "");
}

void demo_watch(struct demo *demo) {
    int64_t now_ms = demo_elapsed_ms(demo);
    if (!watch.arena_made)
        arena_init(&watch.arena, 0);
    watch.arena_made = true;
    arena_reset(&watch.arena);
    hub_ask(demo);
    (void)demo->erp_kind->posted(demo, &watch.arena, &demo->status.posted); /* else as it was */
    demo->status.captured = demo_sum(demo, done);
    if (demo->tty) {
        line_clear(demo);
        line_show(demo);
        watch.line_shown = true;
    } else if (now_ms - watch.told_ms >= (demo->fast ? PLAIN_EVERY_FAST_MS : PLAIN_EVERY_MS)) {
        watch.told_ms = now_ms;
        line_show(demo);
        fputc('\n', demo->tell);
    }
    fflush(demo->tell);
}

void demo_watch_end(struct demo *demo) {
    if (watch.line_shown && demo->tty)
        fputc('\n', stdout);
    watch.line_shown = false;
    if (watch.arena_made)
        arena_free(&watch.arena);
    watch.arena_made = false;
}
