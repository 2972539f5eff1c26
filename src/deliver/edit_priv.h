/* The inside of editing over HTTP: edit_ops.c (what is asked for), edit_preview.c (what would go out). */
#ifndef PENSTOCK_DELIVER_EDIT_PRIV_H
#define PENSTOCK_DELIVER_EDIT_PRIV_H

#include "deliver/edit.h"

/* What there is of a held delivery. */
struct edit_target {
    struct str subscription;
    uint64_t seq;
    bool found, sealed;                /* sealed: the event has something personal */
    uint64_t edit;                     /* that holds now; 0: none */
    int64_t id_seq;                    /* of that edit; 0: the event's own id is told */
    int32_t status;                    /* of the last answer */
    struct str person;                 /* whose the event is */
    const struct connector_send *send; /* its connector is taken */
};
/* ERR_NOT_FOUND. */
enum err edit_target_read(struct query *query, struct str subscription, uint64_t seq, struct edit_target *out,
                          struct fault *fault) WARN_UNUSED;
void edit_target_free(struct edit_target *target);
/* The edit that is asked for; ERR_CONFLICT where it can not be. */
enum err edit_make_body(struct query *query, const struct edit_target *target, const struct edit_asked *asked,
                        struct delivery_edit *edit, struct fault *fault) WARN_UNUSED;

extern const struct shape edit_preview_shape;

#endif
