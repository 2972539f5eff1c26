/* event: something that happened, as the core handles it: the decoded data, and the meta that
 * is stored beside it. A command yields one or several events; they commit together. */
#ifndef PENSTOCK_CORE_EVENT_H
#define PENSTOCK_CORE_EVENT_H

#include "base/rng.h"
#include "core/journal.h"
#include "shape/shape.h"

struct event;
struct rows;
struct state;

/* One row per type of event, in the capability's table. */
struct event_type {
    const char *name;          /* "order.captured" */
    const struct shape *shape; /* of the data */
    /* Changes the state. The only place that does; runs live and at replay, and must do the
     * same both times: no clock, no random, no configuration. Can not refuse. ERR_NOMEM only. */
    enum err (*apply)(struct state *state, const struct event *event);
    /* Writes the rows of the read model that follow from the event. Read model thread; must
     * not look at the state. May be NULL. */
    void (*project)(struct rows *rows, const struct event *event);
    /* The members of the data that project looks at (shape/pick.h): the read model then reads
     * these alone, which costs a fraction. Ends with NULL; NULL: all of them. */
    const char *const *project_reads;
    const char *help;
};

/* Stored beside the data, as JSON of event_meta_shape. */
struct event_meta {
    uint64_t has;
    struct str correlation; /* V2: the id that joins everything one business case did */
    struct str traceparent; /* W3C Trace Context, of the request */
    struct str actor;       /* who: API key id, "connector:shopify", "timer" */
    struct str command;     /* command type's name */
    int64_t first;          /* seq of the first event of the same command */
    int64_t cause;          /* seq of the event the command followed from */
    struct str person;      /* whose data it is or is about (core/seal.h); absent: nobody's */
    int64_t key;            /* number of the key of `sealed` */
    struct str sealed_at;   /* member of the data whose personal members are sealed; absent: of
                               the data itself */
    struct str sealed;      /* the personal members; absent: none */
    /* On the first event of a command alone: */
    struct str idem;        /* scope and Idempotency-Key, hashed: 32 hex digits */
    struct str idem_key;    /* the key as given: found again by trace */
    struct str natural;     /* kind and natural key, hashed: 32 hex digits; kept for ever */
    struct str fingerprint; /* of the body: 32 hex digits */
    int64_t status;         /* of the first answer */
    struct str answer;      /* RAW: body of the first answer */
    struct str partner;     /* what it is about, as a partner names it … */
    struct str partner_version; /* … and its version there */
    struct str masked;      /* where card numbers were masked in what the command came of */
    struct str from;        /* address of the client that asked; absent: not asked over HTTP */
    int64_t more;           /* commands of the same partner's message that follow; absent: none. On
                               every event */
};
enum event_meta_row {
    EVENT_META_CORRELATION, EVENT_META_TRACEPARENT, EVENT_META_ACTOR, EVENT_META_COMMAND,
    EVENT_META_FIRST, EVENT_META_CAUSE, EVENT_META_PERSON, EVENT_META_KEY, EVENT_META_SEALED_AT,
    EVENT_META_SEALED, EVENT_META_IDEM, EVENT_META_IDEM_KEY, EVENT_META_NATURAL,
    EVENT_META_FINGERPRINT, EVENT_META_STATUS, EVENT_META_ANSWER,
    EVENT_META_PARTNER, EVENT_META_PARTNER_VERSION, EVENT_META_MASKED, EVENT_META_FROM,
    EVENT_META_MORE,
};
extern const struct shape event_meta_shape;

struct event {
    const struct event_type *type;
    uint64_t seq; /* 0 while being decided; apply sees it set */
    int64_t time_us;
    struct str subject; /* also the partition key: order of events is kept per subject */
    const void *data;   /* struct of type->shape */
    struct str data_json; /* where known already; else encoded from data */
    struct event_meta meta;
    bool sealed; /* carries the personal members of the command's document */
    struct event *next;
};

struct registry;
struct json_parser;
struct keyring;
/* The id of an event outside of the hub: "main-42". Absent when memory is out. */
struct str event_id(struct arena *arena, struct str cell, uint64_t seq);
/* The meta of a record. Strings point into `json` or the arena. What the hub itself wrote is
 * read without the parser, in a fraction of a microsecond. */
enum err event_meta_load(struct str json, struct json_parser *parser, struct arena *arena,
                         struct event_meta *out, struct fault *fault) WARN_UNUSED;

/* record → event: looks up the type, decodes data and meta into the arena. An unknown type
 * (written by a newer program) answers ERR_NOT_FOUND, with all but type and data filled in. */
enum err event_from_record(const struct registry *registry, const struct record *record,
                           struct json_parser *parser, struct arena *arena, struct event *out,
                           struct fault *fault) WARN_UNUSED;

/* The record as a CloudEvents 1.0.2 JSON object: specversion, id ("<cell>-<seq>"), source
 * ("/penstock/<cell>"), type ("org.penstock.order.captured.v1"), subject, time,
 * datacontenttype, and the extensions penstockseq, correlationid, traceparent, partitionkey,
 * then data; with its personal members where `keyring` is given and has their key. `parser` and
 * `arena` serve to read the meta. */
enum err event_write_cloudevent(const struct record *record, struct str cell,
                                struct keyring *keyring, struct json_parser *parser,
                                struct arena *arena, struct buf *out,
                                struct fault *fault) WARN_UNUSED;
#define EVENT_TYPE_PREFIX "org.penstock."
#define EVENT_TYPE_SUFFIX ".v1"

/* What the hub writes about itself: who was refused, who read what is personal, who asked for a
 * second person. Not for other systems: no subscription takes such events, and the feed gives them
 * only to who asks for the type and has SCOPE_AUDIT. */
static inline bool event_private(struct str type) {
    return str_starts(type, STR("audit.")) || str_starts(type, STR("approval."));
}
#define SCOPE_AUDIT "audit:read"

#endif
