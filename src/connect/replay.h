/* replay: which signed messages came a short while ago. Platforms that sign a body alone (not
 * its time, not its id) can not tell a message that somebody overheard and sends again under
 * another id; where connector.yaml sets replay_window_s, the same bytes within it keep the id they
 * came with first, so that they are the same message (receive.h) and get the first answer.
 *
 * In memory, a fixed number of entries: where more come within the window, the oldest are
 * forgotten first, and after a restart all are. The journal's natural keys stay what they are. */
#ifndef PENSTOCK_CONNECT_REPLAY_H
#define PENSTOCK_CONNECT_REPLAY_H

#include "base/arena.h"
#include "base/err.h"
#include "base/hash.h"

#define REPLAY_ENTRIES 65536
/* Ids that are longer are kept as their hash is: by who makes them (receive.c). */
#define REPLAY_ID_BYTES 64

struct replay;
enum err replay_create(struct replay **out, struct fault *fault) WARN_UNUSED;
/* Who made it is its first user; freed with the last. */
struct replay *replay_take(struct replay *replay);
void replay_release(struct replay *replay);

/* The id under which these bytes came first within the window before now, in the arena; else
 * notes that they came now under `id` and answers that. Any thread. */
struct str replay_id(struct replay *replay, struct hash128 bytes, struct str id, int64_t now_us,
                     int64_t window_us, struct arena *arena);

#endif
