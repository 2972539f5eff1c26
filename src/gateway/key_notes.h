/* key_notes: what was done to a cell beside its running hub, waiting in keys.db for the hub to put
 * it into the journal's audit: keys made and revoked, and what commands do to the files
 * (journal export, import, retain …). Keys' own rows get their notes by triggers, in the same
 * transaction, whoever writes them.
 *
 * A note stays until the journal has it; a hub that does not run takes it when it starts. */
#ifndef PENSTOCK_GATEWAY_KEY_NOTES_H
#define PENSTOCK_GATEWAY_KEY_NOTES_H

#include <sqlite3.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"

struct key_note {
    struct str id;     /* of the note: 32 hex digits */
    int64_t at_us;     /* when it was done */
    struct str actor;  /* "os:root@host": the user of the operating system */
    struct str action; /* "key.created", "journal.export" */
    struct str about, detail; /* absent where there is nothing to say */
};

/* For keys.c: the table, the triggers, and who writes on this connection. */
enum err key_notes_attach(sqlite3 *db, struct fault *fault) WARN_UNUSED;

struct key_notes;
/* keys.db of the cell, made where it is missing. */
enum err key_notes_open(const char *path, struct key_notes **out, struct fault *fault) WARN_UNUSED;
void key_notes_close(struct key_notes *notes);
/* Durable when it answers OK. */
enum err key_notes_add(struct key_notes *notes, struct clock *clock, struct str action,
                       struct str about, struct str detail, struct fault *fault) WARN_UNUSED;
/* The oldest, in the arena; *any false: there is none. A microsecond where nothing was written
 * since it was last found so. */
enum err key_notes_next(struct key_notes *notes, struct arena *arena, struct key_note *out,
                        bool *any, struct fault *fault) WARN_UNUSED;
/* The journal has it. */
enum err key_notes_done(struct key_notes *notes, struct str id, struct fault *fault) WARN_UNUSED;

#endif
