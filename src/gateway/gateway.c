/* gateway: start, drain and stop; each loop's hand-over from the writer; the route tables. */
#include "gateway/gateway_priv.h"

#include "base/mem.h"
#include "base/version.h"
#include "gateway/asyncapi.h"
#include "gateway/http_gzip.h"
#include "gateway/openapi.h"
#include "gateway/token.h"

#define ROUTE_TABLES_MAX 64

struct gateway_loop *loop_of(struct http_exchange *ex) {
    return http_loop_data(http_exchange_loop(ex));
}

/* --- hand-over ----------------------------------------------------------------------------- */

/* Writer thread: a batch is on disk. All of it under the lock: with the last answer taken, the loop may
 * be gone. */
static void loop_deliver(struct command_origin *origin, struct command *first) {
    struct gateway_loop *loop = (struct gateway_loop *)origin;
    struct command *last = first;

    while (last->next)
        last = last->next;
    pthread_mutex_lock(&loop->lock);
    if (loop->inbox_last)
        loop->inbox_last->next = first;
    else
        loop->inbox_first = first;
    loop->inbox_last = last;
    if (atomic_load(&loop->ready_us) == 0)
        atomic_store(&loop->ready_us, clock_tick_us(loop->gateway->clock));
    uv_async_send(&loop->wake);
    pthread_mutex_unlock(&loop->lock);
}

void loop_inbox_take(struct gateway_loop *loop) {
    struct command *command, *next;
    uint32_t index = (uint32_t)http_loop_index(loop->http);
    int64_t ready_us = atomic_exchange(&loop->ready_us, 0);

    admission_loop_woke(loop->gateway->admission, index);
    if (ready_us > 0)
        admission_answers_waited(loop->gateway->admission, index,
                                 clock_tick_us(loop->gateway->clock) - ready_us);
    pthread_mutex_lock(&loop->lock);
    command = loop->inbox_first;
    loop->inbox_first = loop->inbox_last = NULL;
    pthread_mutex_unlock(&loop->lock);
    for (; command; command = next) {
        next = command->next;
        ((struct issuer *)command->origin_ctx)->completed(command);
    }
}

static void on_wake(uv_async_t *async) {
    struct gateway_loop *loop = async->data;

    loop_inbox_take(loop);
    bulks_flush(loop);
    jobs_dispatch(loop);
    feeds_wake(loop);
    if (atomic_load(&loop->gateway->draining))
        feeds_drain(loop);
}

static void on_tick(uv_timer_t *timer) {
    struct gateway_loop *loop = timer->data;

    call_waiting_tick(loop);
    limit_slowed_tick(loop);
    callers_unsure_tick(loop);
    signins_tick(loop);
    bulks_tick(loop);
    feeds_tick(loop);
    audit_tick(loop->audit);
    loop_tick_set(loop);
}

void loop_tick_set(struct gateway_loop *loop) {
    bool soon = loop->waiting || loop->held || loop->slowed || loop->unsure || loop->signing;
    int wanted = soon                       ? WAIT_TICK_MS
                 : loop->feeds              ? FEED_TICK_MS
                 : audit_waits(loop->audit) ? AUDIT_TICK_MS
                                            : 0;

    if (wanted == loop->tick_ms)
        return;
    loop->tick_ms = wanted;
    if (wanted > 0)
        uv_timer_start(&loop->tick, on_tick, (uint64_t)wanted, (uint64_t)wanted);
    else
        uv_timer_stop(&loop->tick);
}

/* --- loops --------------------------------------------------------------------------------- */

static enum err on_loop_start(struct http_loop *http, void *ctx, struct fault *fault) {
    struct gateway *gateway = ctx;
    struct gateway_loop *loop = &gateway->loops[http_loop_index(http)];
    enum err err;

    loop->http = http;
    loop->gateway = gateway;
    loop->origin.deliver = loop_deliver;
    http_loop_data_set(http, loop);
    rng_seeded_init(&loop->rng, rng_u64(&rng_system));
    buf_init(&loop->out, 0);
    buf_init(&loop->packed, 0);
    buf_init(&loop->limit_text, 4096);
    loop->parser = json_parser_create();
    if (!loop->parser)
        return fault_set(fault, ERR_NOMEM, "no memory for a parser");
    struct auth_options auth = {.keys_path = gateway->options.keys_path,
                                .router = gateway->router,
                                .clock = gateway->clock,
                                .config = gateway->config,
                                .callers = gateway->callers};
    err = auth_create(&auth, &loop->auth, fault);
    if (err == OK)
        err = token_guards_init(loop, fault);
    if (err == OK)
        err = audit_open(loop, &loop->audit, fault);
    if (err != OK)
        return err;
    loop->limits = limit_view_create(gateway->limiter);
    if (!loop->limits)
        return fault_set(fault, ERR_NOMEM, "no memory for the limits");
    loop->reader = reader_take(gateway, fault);
    if (!loop->reader)
        return fault->err != OK ? fault->err : ERR_IO;
    if (uv_async_init(http_loop_uv(http), &loop->wake, on_wake) != 0)
        return fault_set(fault, ERR_IO, "no file descriptor left for a loop");
    loop->wake.data = loop->tick.data = loop->turn.data = loop; /* there is something to close: on_loop_stop */
    uv_timer_init(http_loop_uv(http), &loop->tick);
    uv_loop_configure(http_loop_uv(http), UV_METRICS_IDLE_TIME);
    loop->began_us = clock_tick_us(gateway->clock);
    loop->rest.data = loop;
    uv_prepare_init(http_loop_uv(http), &loop->rest);
    uv_prepare_start(&loop->rest, admission_rest);
    turns_begin(loop);
    return OK;
}

static void on_loop_stop(struct http_loop *http, void *ctx) {
    struct gateway_loop *loop = http_loop_data(http);

    if (!loop || !loop->wake.data)
        return; /* its start failed */
    must(!loop->feeds && !loop->waiting && !loop->slowed && !loop->unsure && !loop->signing &&
         !loop->bulks && loop->jobs == 0);
    audit_close(loop->audit);
    loop->audit = NULL;
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->tick, NULL);
    uv_close((uv_handle_t *)&loop->rest, NULL);
    uv_close((uv_handle_t *)&loop->turn, NULL);
}

static void loop_free(struct gateway_loop *loop) {
    json_parser_destroy(loop->parser);
    auth_destroy(loop->auth);
    limit_view_destroy(loop->limits);
    mem_free(loop->guards);
    audit_close(loop->audit);
    if (loop->reader)
        loop->gateway->options.readers.destroy(loop->reader);
    buf_free(&loop->out);
    buf_free(&loop->packed);
    buf_free(&loop->limit_text);
    mem_free(loop->routes);
    pthread_mutex_destroy(&loop->lock);
}

/* --- routes -------------------------------------------------------------------------------- */

const struct route *const *gateway_routes(const struct capability *const *capabilities) {
    static const struct route *tables[ROUTE_TABLES_MAX];
    uint32_t count = 0;

    for (; *capabilities; capabilities++)
        if ((*capabilities)->routes) {
            must(count < ROUTE_TABLES_MAX - 2);
            tables[count++] = (*capabilities)->routes;
        }
    tables[count++] = hub_routes;
    tables[count] = NULL;
    return tables;
}

static bool answers_version(const struct route *route) {
    const struct shape *shape = route->answer;

    for (uint32_t i = 0; shape && i < shape->count; i++)
        if (str_is(str_c(shape->fields[i].name), "version"))
            return true;
    return false;
}

/* What each route's answers carry beside what they are asked for. */
static enum err routes_learn(struct gateway *gateway, struct fault *fault) {
    const struct contract *table = gateway->options.api ? gateway->options.api->contracts : NULL;
    uint32_t count = router_count(gateway->router);
    enum err err = OK;

    gateway->versioned = arena_array(&gateway->arena, count, sizeof(bool));
    gateway->notices = arena_array(&gateway->arena, count, sizeof *gateway->notices);
    if (!gateway->versioned || !gateway->notices)
        return fault_set(fault, ERR_NOMEM, "no memory for the routes");
    for (uint32_t i = 0; i < count && err == OK; i++) {
        const struct route *route = router_entry(gateway->router, i)->route;

        gateway->versioned[i] = answers_version(route);
        err = contract_notice_make(route, contract_of_path(table, route->path), &gateway->arena,
                                   &gateway->notices[i], fault);
    }
    gateway->route_count = count;
    for (uint32_t i = 0; i < gateway->loop_count && err == OK; i++) {
        struct route_counters **routes = &gateway->loops[i].routes;

        *routes = mem_zalloc((count + 1) * sizeof **routes);
        if (!*routes)
            err = fault_set(fault, ERR_NOMEM, "no memory for the routes' counters");
    }
    return err;
}

static enum err routes_make(struct gateway *gateway, struct fault *fault) {
    const struct capability *const *c = registry_capabilities(core_registry(gateway->options.core));
    enum err err = OK;

    gateway->router = router_create();
    if (!gateway->router)
        return fault_set(fault, ERR_NOMEM, "no memory for the routes");
    for (; *c && err == OK; c++)
        if ((*c)->routes)
            err = router_add(gateway->router, (*c)->routes, NULL, fault);
    if (err == OK)
        err = router_add(gateway->router, hub_routes, gateway, fault);
    if (err == OK)
        err = router_scope_add(gateway->router, SCOPE_PERSONAL, &gateway->personal_scope, fault);
    if (err == OK)
        err = router_scope_add(gateway->router, SCOPE_AUDIT, &gateway->audit_scope, fault);
    if (err == OK)
        err = operation_scopes_add(gateway, fault);
    for (const struct gateway_table *t = gateway->options.tables; t && t->routes && err == OK; t++)
        err = router_add(gateway->router, t->routes, t->ctx, fault);
    if (err != OK)
        return err;
    err = routes_learn(gateway, fault);
    return err == OK ? second_open(gateway, fault) : err;
}

static struct str packed_make(struct gateway *gateway, struct str text) {
    struct str packed = STR_NONE;
    struct buf out;

    buf_init(&out, 0);
    if (http_gzip_all(text, &out))
        packed = arena_str(&gateway->arena, buf_str(&out));
    buf_free(&out);
    return packed;
}

/* The same documents as `penstock openapi` and `penstock asyncapi` print. */
static enum err documents_make(struct gateway *gateway, struct fault *fault) {
    struct api_tables plain = {
        .capabilities = registry_capabilities(core_registry(gateway->options.core))};
    const struct api_tables *tables = gateway->options.api ? gateway->options.api : &plain;
    struct buf out;

    buf_init(&out, 0);
    openapi_write(tables, PENSTOCK_VERSION, &out);
    gateway->openapi = buf_ok(&out) ? arena_str(&gateway->arena, buf_str(&out)) : STR_NONE;
    buf_clear(&out);
    asyncapi_write(tables, PENSTOCK_VERSION, &out);
    gateway->asyncapi = buf_ok(&out) ? arena_str(&gateway->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    gateway->openapi_gzip = packed_make(gateway, gateway->openapi);
    gateway->asyncapi_gzip = packed_make(gateway, gateway->asyncapi);
    return gateway->openapi_gzip.ptr && gateway->asyncapi_gzip.ptr
               ? OK
               : fault_set(fault, ERR_NOMEM, "no memory for the API documents");
}

/* --- start and end ------------------------------------------------------------------------- */

static void gateway_free(struct gateway *gateway) {
    for (uint32_t i = 0; gateway->loops && i < gateway->loop_count; i++)
        loop_free(&gateway->loops[i]);
    readers_free(gateway);
    callers_destroy(gateway->callers);
    signins_destroy(gateway);
    pthread_mutex_destroy(&gateway->readers_lock);
    mem_free(gateway->loops);
    limiter_destroy(gateway->limiter);
    admission_destroy(gateway->admission);
    router_destroy(gateway->router);
    arena_free(&gateway->arena);
    mem_free(gateway);
}

/* The hub as its callers reach it: issuer of its own tokens. */
static enum err callers_make(struct gateway *gateway, struct fault *fault) {
    const struct config *config = gateway->config;
    struct callers_options options = {.keys_path = gateway->options.keys_path,
                                      .config = config,
                                      .clock = gateway->clock,
                                      .issuer = config->auth->url};
    enum err err;

    if (!options.issuer.ptr)
        options.issuer = arena_printf(&gateway->arena, "http://%.*s",
                                      STR_FMT(*list_at(config->listen, struct str, 0)));
    if (!options.issuer.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for the gateway");
    err = signins_create(gateway, fault);
    if (err != OK)
        return err;
    options.operators = gateway->operators;
    err = callers_create(&options, &gateway->callers, fault);
    return err == OK ? callers_start(gateway->callers, fault) : err;
}

static void writer_delays(void *ctx, int64_t out_us[TRAFFIC_CLASSES]) { core_delays(ctx, out_us); }

static enum err admission_make(struct gateway *gateway, struct fault *fault) {
    struct admission_options options = {.settings = &gateway->config->settings,
                                        .clock = gateway->clock,
                                        .loops = gateway->loop_count,
                                        .writer = writer_delays,
                                        .ctx = gateway->options.core};

    gateway->admission = admission_create(&options);
    return gateway->admission ? OK : fault_set(fault, ERR_NOMEM, "no memory for the gateway");
}

static enum err serve(struct gateway *gateway, struct fault *fault) {
    const struct settings *s = &gateway->config->settings;
    struct http_options http = {
        .listen = gateway->options.listen,
        .listen_count = gateway->options.listen_count,
        .threads = (int)gateway->loop_count,
        .limits = {.header_bytes_max = (size_t)s->header_bytes_max,
                   .target_bytes_max = (size_t)s->target_bytes_max,
                   .header_count_max = (uint32_t)s->header_count_max,
                   .body_bytes_max = (size_t)s->body_bytes_max,
                   .bodies_bytes_max = (size_t)s->bodies_bytes_max,
                   .stream_rate_min = s->bulk_rate_min,
                   .stream_bytes_max = (size_t)s->stream_bytes_max,
                   .connections_max = (uint32_t)s->connections_max,
                   .connections_per_address_max = (uint32_t)s->connections_per_address_max,
                   .handshakes_max = (uint32_t)s->handshakes_max,
                   .handshake_timeout_ms = s->handshake_timeout_ms,
                   .gzip_ratio_max = (uint32_t)s->gzip_ratio_max,
                   .pipeline_max = (uint32_t)s->pipeline_max,
                   .header_timeout_ms = s->header_timeout_ms,
                   .body_timeout_ms = s->body_timeout_ms,
                   .idle_timeout_ms = s->idle_timeout_ms,
                   .write_timeout_ms = s->write_timeout_ms},
        .clock = gateway->clock,
        .ctx = gateway,
        .head = call_head,
        .handle = call_handle,
        .refuse = call_refuse,
        .loop_start = on_loop_start,
        .loop_stop = on_loop_stop,
    };
    return http_server_start(&http, &gateway->server, fault);
}

enum err gateway_start(const struct gateway_options *options, struct gateway **out,
                       struct fault *fault) {
    struct gateway *gateway = mem_zalloc(sizeof *gateway);
    enum err err;

    *out = NULL;
    if (!gateway)
        return fault_set(fault, ERR_NOMEM, "no memory for the gateway");
    gateway->options = *options;
    gateway->config = options->config;
    gateway->clock = core_clock(options->core);
    gateway->known_seed = rng_u64(&rng_system); /* nobody can choose credentials that meet */
    arena_init(&gateway->arena, 0);
    pthread_mutex_init(&gateway->readers_lock, NULL);
    gateway->loop_count = (uint32_t)gateway->config->settings.loop_threads;
    gateway->loops = mem_zalloc(sizeof *gateway->loops * gateway->loop_count);
    for (uint32_t i = 0; gateway->loops && i < gateway->loop_count; i++) {
        gateway->loops[i].gateway = gateway;
        pthread_mutex_init(&gateway->loops[i].lock, NULL);
    }
    err = gateway->loops ? routes_make(gateway, fault)
                         : fault_set(fault, ERR_NOMEM, "no memory for the gateway");
    struct limiter_options limits = {.config = gateway->config, .router = gateway->router,
                                     .clock = gateway->clock, .path = options->limits_path};
    if (err == OK)
        err = limiter_create(&limits, &gateway->limiter, fault);
    if (err == OK)
        err = admission_make(gateway, fault);
    if (err == OK)
        err = documents_make(gateway, fault);
    if (err == OK)
        err = callers_make(gateway, fault);
    if (err == OK)
        err = serve(gateway, fault);
    if (err != OK) {
        gateway_free(gateway);
        return err;
    }
    *out = gateway;
    return OK;
}

uint16_t gateway_port(const struct gateway *gateway, uint32_t listener) {
    return http_server_port_of(gateway->server, listener);
}

bool gateway_drain(struct gateway *gateway, int64_t timeout_ms) {
    int64_t until_us = clock_tick_us(gateway->clock) + timeout_ms * 1000;

    atomic_store(&gateway->draining, true);
    http_server_drain(gateway->server);
    for (uint32_t i = 0; i < gateway->loop_count; i++)
        uv_async_send(&gateway->loops[i].wake); /* feeds end */
    while (http_server_connections(gateway->server) > 0) {
        if (clock_tick_us(gateway->clock) >= until_us)
            return false;
        uv_sleep(5);
    }
    return true;
}

void gateway_stop(struct gateway *gateway) {
    if (!gateway)
        return;
    atomic_store(&gateway->draining, true);
    http_server_stop(gateway->server);
    gateway_free(gateway);
}
