/* connector_load_stop: `stop` of a subscription in connector.yaml: its table, what holds where it
 * does not say, and what the table can not say. */
#include "base/decimal.h"
#include "connect/connector_priv.h"

#define SHARE_ONE INT64_C(1000000000) /* 1, of RATE_SCALE places */

enum stop_row { STOP_SHARE, STOP_OF_LAST, STOP_AT_LEAST };
static const struct shape_field stop_rows[] = {
    [STOP_SHARE] = SHAPE_ROW(struct connector_stop, share, SHAPE_RATE,
                             "It stops when more than this share of them were newly held; \"1\": never (0.5)",
                             .min = 1, .max = SHARE_ONE),
    [STOP_OF_LAST] = SHAPE_ROW(struct connector_stop, of_last, SHAPE_INTEGER,
                               "Deliveries that are looked at: those that ended last (100)", .min = 1,
                               .max = STOP_OF_LAST_MAX),
    [STOP_AT_LEAST] = SHAPE_ROW(struct connector_stop, at_least, SHAPE_INTEGER,
                                "So many must have ended since it was started (20)", .min = 1,
                                .max = STOP_OF_LAST_MAX),
};
SHAPE_DEFINE(connector_stop_shape, "connector_stop", struct connector_stop,
             "When a subscription stops by itself", stop_rows);

enum err load_stop(struct loader *l, struct connector_send *send, uint32_t i) {
    if (!send->stop)
        send->stop = arena_new(l->arena, struct connector_stop);
    struct connector_stop *stop = send->stop;
    if (!stop)
        return ERR_NOMEM;
    if (!shape_has(stop, STOP_SHARE))
        stop->share = SHARE_ONE / 2;
    if (!stop->of_last)
        stop->of_last = stop->at_least > 100 ? stop->at_least : 100;
    if (!stop->at_least)
        stop->at_least = stop->of_last < 20 ? stop->of_last : 20;
    if (stop->at_least > stop->of_last)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/send/%u/stop/at_least", i),
                   "must be at most of_last, %lld", (long long)stop->of_last);
    return OK;
}
