/* edit: what a person changed of one held delivery: its data, by a JSON Merge Patch (RFC 7396) of the event's
 * data before mapping, and which version of the mapping may make the document. The event stays what it is; the
 * edit is an event of its own (delivery.edited), its patch sealed, and progress says which one holds.
 *
 * What always holds: what is sent of an edited delivery is made of the edit, or the delivery is held again and
 * says why; an edit holds for one delivery of one subscription, and is gone with it. */
#ifndef PENSTOCK_DELIVER_EDIT_H
#define PENSTOCK_DELIVER_EDIT_H

#include "deliver/deliver_priv.h"
#include "domain/deliveries.h"

/* Whether deliveries by this `send` can be edited so. ERR_CONFLICT with the reason. */
enum err edit_possible(const struct connector_send *send, const struct delivery_edit *edit,
                       struct fault *fault) WARN_UNUSED;

/* journal_visit of a delivery.edited; ctx is this. */
struct edit_reading {
    struct json_parser *parser;
    struct arena *arena;
    struct keyring *keyring;
    const struct delivery_edit *edit; /* NULL: the record is none */
    enum err err;
    struct fault *fault;
};
bool edit_visit(void *ctx, const struct record *record);

/* The event (a CloudEvent, as a document) with its data as the patch makes it. */
enum err edit_event(struct json_parser *parser, struct arena *arena, const struct json *event,
                    const struct json *patch, struct str *text, const struct json **out,
                    struct fault *fault) WARN_UNUSED;
/* What a patch sets and takes away, as JSON Pointers (RFC 6901): at most EDITED_CHANGED_MAX, the first ones.
 * ERR_NOMEM. */
enum err edit_pointers(const struct json *patch, struct arena *arena, struct shape_list *out,
                       struct fault *fault) WARN_UNUSED;

/* The attempt's event was read: makes of it what its edit says, where it has one. ERR_INVALID: that can not be
 * made (any more). */
enum err edit_apply(struct attempt *attempt, struct fault *fault) WARN_UNUSED;

/* seq of the newest edit of a held delivery, as the hub's state has it; 0: none. */
uint64_t edit_newest(const struct subscription *sub, uint64_t seq);
/* A held delivery was loaded: where the journal knows of a newer edit than progress, that one holds. */
void edit_loaded(struct subscription *sub, const struct progress_row *row);

/* POST /ops/held/{id}/edit; ctx is the deliver. */
enum err held_edit_query(struct query *query, struct fault *fault) WARN_UNUSED;
extern const struct shape held_edit_shape, held_edited_shape;

/* What is asked for: as bodies say it. */
#define EDIT_PATCH_BYTES_MAX 262144
struct edit_asked {
    struct str reason, patch, mapping_version; /* patch: JSON text; absent: none */
    const struct json *document;               /* of the patch; set by edit_asked_check */
    int64_t edit;                              /* seen: seq of the edit that was seen */
    bool seen, dry_run;
    bool brief; /* a preview without its trace */
};
/* ERR_INVALID with every fault. */
enum err edit_asked_check(struct query *query, struct edit_asked *asked, struct fault *fault) WARN_UNUSED;
/* Edits one delivery: reads what there is of it, and asks delivery. *edit_seq: of the event. */
enum err edit_one(struct query *query, struct str subscription, uint64_t seq, const struct edit_asked *asked,
                  uint64_t *edit_seq, struct fault *fault) WARN_UNUSED;
/* Writes what would go out, as an object; changes nothing. */
enum err edit_preview(struct query *query, struct str subscription, uint64_t seq,
                      const struct edit_asked *asked, struct fault *fault) WARN_UNUSED;

#endif
