/* persons: the keyring of a cell (core/seal.h) in an SQLite file of its own, persons.db, apart
 * from the journal so that keys can be destroyed while the journal stays.
 *
 * The file holds one secret for each block of KEY_TREE_LEAVES keys (key_tree.h), and what is left
 * of blocks from which keys were destroyed. Blocks are made ahead, many in one commit, so that to
 * take a key costs no disk. What was ahead at a crash or a stop is never handed out again: nobody
 * remembers which of it was used.
 *
 * What always holds: a key that take answered can be made again from what is durable; no number
 * is handed out twice, not even after the file was replaced by an old copy (numbers begin with the
 * time); destroy answers OK only when the file, its WAL and its free pages hold nothing any more
 * from which the keys can be made. */
#ifndef PENSTOCK_STORE_PERSONS_H
#define PENSTOCK_STORE_PERSONS_H

#include "base/clock.h"
#include "core/seal.h"

struct persons_options {
    const char *path; /* "DIR/data/persons.db" */
    const char *vfs;  /* SQLite VFS; NULL: the default (seam `disk`) */
    struct clock *clock;
    struct rng *rng;
    uint32_t ready;   /* keys made ahead: settings.sealing_keys_ready */
    /* 32 bytes under which every secret in the file is encrypted; NULL: none is. A file without is
     * written anew with it; one with it does not open without. */
    const uint8_t *master;
};

/* Makes the file where it is missing. ERR_IO, ERR_CONFLICT (a file of another kind, or under
 * another master key), ERR_NOMEM. */
enum err persons_open(const struct persons_options *options, struct keyring **out,
                      struct fault *fault) WARN_UNUSED;

struct persons_stats {
    uint64_t taken, made, found, destroyed; /* keys, since the start */
    uint64_t waited; /* times that take had to wait for the disk */
    uint32_t ready;  /* keys that can be taken without the disk */
    bool fresh;      /* the file was made by this opening */
};
void persons_stats(struct keyring *keyring, struct persons_stats *out);

#endif
