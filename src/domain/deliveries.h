/* deliveries: what the journal tells of deliveries that a person must decide: held, and let go
 * again. Progress of delivery itself is no state of the hub (deliver/progress.h). */
#ifndef PENSTOCK_DOMAIN_DELIVERIES_H
#define PENSTOCK_DOMAIN_DELIVERIES_H

#include "core/capability.h"

extern const struct capability deliveries_capability;

/* Body of command delivery.hold and data of event delivery.held. */
struct delivery_hold {
    uint64_t has;
    struct str subscription;
    struct str connector;
    int64_t event_seq;     /* of the event that was to be delivered */
    struct str event_type;
    struct str lane;       /* its key: what waits behind it */
    struct str subject;    /* of the event */
    struct str cause;      /* in the remote's words */
    int64_t status;        /* of the remote's last answer */
    int64_t attempts;
    int64_t replay; /* it came of this replay; absent: of the live stream */
    struct str mapping, mapping_version; /* as in struct posting; absent: none, or not known any more */
};
enum delivery_hold_row {
    HELD_SUBSCRIPTION, HELD_CONNECTOR, HELD_EVENT_SEQ, HELD_EVENT_TYPE, HELD_LANE, HELD_SUBJECT,
    HELD_CAUSE, HELD_STATUS, HELD_ATTEMPTS, HELD_MAPPING, HELD_MAPPING_VERSION, HELD_REPLAY,
};
/* Body of command delivery.release and data of event delivery.released. */
struct delivery_release {
    uint64_t has;
    struct str subscription;
    int64_t event_seq;
    struct str subject;
    int32_t action; /* enum delivery_action */
    struct str reason;
    struct str by;  /* who decided */
};
enum delivery_release_row {
    RELEASED_SUBSCRIPTION, RELEASED_EVENT_SEQ, RELEASED_SUBJECT, RELEASED_ACTION, RELEASED_REASON,
    RELEASED_BY,
};
enum delivery_action { DELIVERY_RETRY, DELIVERY_DISCARD };

/* Body of command delivery.edit and data of event delivery.edited: what goes out of this one delivery, other
 * than the event says. The event itself stays what it is. */
struct delivery_edit {
    uint64_t has;
    struct str subscription;
    int64_t event_seq;
    struct str subject;
    struct str patch;       /* RAW: a JSON Merge Patch (RFC 7396) of the event's data. Sealed */
    struct shape_list changed; /* of struct str: JSON Pointers of what the patch sets or takes away */
    struct str mapping_version; /* that alone may map it; absent: any */
    int64_t id_seq;         /* the other system is told an id of its own for it, made of this seq; 0 in the
                               command: the edit's own. Absent: the event's id */
    int64_t replaces;       /* the edit before; absent: there was none */
    struct str reason, by;
    struct str person;      /* not a row: whose the patch is; absent: its own */
};
enum delivery_edit_row {
    EDITED_SUBSCRIPTION, EDITED_EVENT_SEQ, EDITED_SUBJECT, EDITED_PATCH, EDITED_CHANGED,
    EDITED_MAPPING_VERSION, EDITED_ID_SEQ, EDITED_REPLACES, EDITED_REASON, EDITED_BY,
};
#define EVENT_DELIVERY_EDITED "delivery.edited"
#define EDITED_CHANGED_MAX 100
extern const struct shape delivery_hold_shape, delivery_release_shape, delivery_edit_shape;

/* Internal; told again they answer OK and change nothing. */
extern const struct command_type delivery_hold_command, delivery_release_command;
/* Internal. ERR_CONFLICT: nothing is held there. */
extern const struct command_type delivery_edit_command;

/* seq of the newest edit of a delivery that is held, 0: it was not edited while it was. `part` is
 * deliveries_capability's state. */
uint64_t delivery_edition(const void *part, struct str subscription, uint64_t event_seq);

#endif
