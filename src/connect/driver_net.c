/* driver_net: see driver_net.h. A call is known by the driver it went to: the lowest bits of its pointer,
 * which alignment leaves free, are the driver's number. */
#include "connect/driver_net.h"

#include "base/mem.h"
#include "connect/driver_kafka.h"
#include "connect/driver_nats.h"
#include "connect/stream_url.h"

enum { TO_HTTP, TO_NATS, TO_KAFKA, DRIVERS };
#define DRIVER_BITS ((uintptr_t)3)

struct driver_net {
    struct net net;
    struct driver_http_options options;
    struct net *drivers[DRIVERS]; /* NULL: not needed yet */
};

static enum err driver_of(struct driver_net *driver, uint32_t which, struct fault *fault) {
    if (driver->drivers[which])
        return OK;
    struct driver_nats_options nats = {.loop = driver->options.loop, .clock = driver->options.clock,
                                       .calls_max = driver->options.calls_max};
    struct driver_kafka_options kafka = {.loop = driver->options.loop, .clock = driver->options.clock,
                                         .calls_max = driver->options.calls_max};
    return which == TO_NATS ? driver_nats_create(&nats, &driver->drivers[which], fault)
                            : driver_kafka_create(&kafka, &driver->drivers[which], fault);
}

static enum err any_send(struct net *net, const struct net_request *request, net_done *done, void *ctx,
                         struct net_call **call, struct fault *fault) {
    struct driver_net *driver = (struct driver_net *)net;
    enum stream_kind kind;
    struct net_call *inner = NULL;
    uint32_t which = TO_HTTP;
    if (!str_starts(request->url, STR("http")) && stream_url_is(request->url, &kind))
        which = kind == STREAM_NATS ? TO_NATS : TO_KAFKA;
    enum err err = driver_of(driver, which, fault);
    if (err == OK)
        err = net_send(driver->drivers[which], request, done, ctx, &inner, fault);
    if (err == OK && call)
        *call = (struct net_call *)((uintptr_t)inner | which);
    return err;
}

static void any_cancel(struct net *net, struct net_call *call) {
    struct driver_net *driver = (struct driver_net *)net;
    uintptr_t bits = (uintptr_t)call;
    net_cancel(driver->drivers[bits & DRIVER_BITS], (struct net_call *)(bits & ~DRIVER_BITS));
}

static void any_close(struct net *net) {
    struct driver_net *driver = (struct driver_net *)net;
    for (uint32_t i = 0; i < DRIVERS; i++)
        if (driver->drivers[i])
            net_close(driver->drivers[i]);
    mem_free(driver);
}

static const struct net_ops any_ops = {.send = any_send, .cancel = any_cancel, .close = any_close};

enum err driver_net_create(const struct driver_http_options *options, struct net **out,
                           struct fault *fault) {
    struct driver_net *driver = mem_zalloc(sizeof *driver);
    if (!driver)
        return fault_set(fault, ERR_NOMEM, "no memory for the net");
    driver->net.ops = &any_ops;
    driver->options = *options;
    enum err err = driver_http_create(options, &driver->drivers[TO_HTTP], fault);
    if (err != OK) {
        mem_free(driver);
        return err;
    }
    *out = &driver->net;
    return OK;
}
