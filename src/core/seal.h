/* seal: what is personal in an event stands in the journal encrypted, under a key of its own, so
 * that destroying keys erases a person from history and leaves orders and books whole. See
 * docs/privacy.md.
 *
 * A document is taken apart by its shape: members of privacy PERSONAL become a small document of
 * their own (shape_encode_personal), and that is put into a *box*: base 64 of nonce, ciphertext
 * and tag of AES-256-GCM (NIST SP 800-38D). A longer one (a partner's message) is packed before: what
 * is encrypted is an object, or a frame of Zstandard (RFC 8878) of one. The box, the number of its
 * key and the *person* (whose data it is: customer id, or the order's id for a guest) are in the
 * event's meta. The box is bound to command type, person and key number: moved to another event it
 * does not open.
 *
 * Each box has a key of its own: no key is ever used twice, so there is nothing to remember of
 * persons while orders come in. The keys of a person are those of the events that name it.
 * Keys are kept outside the journal, by a keyring; store/persons.h implements it. */
#ifndef PENSTOCK_CORE_SEAL_H
#define PENSTOCK_CORE_SEAL_H

#include "base/hash.h"
#include "base/rng.h"
#include "core/event.h"

#define SEAL_KEY_BYTES 32
struct seal_key {
    uint64_t number; /* 1 …; below 2^53 */
    uint8_t bytes[SEAL_KEY_BYTES];
};

struct keyring;
struct keyring_ops {
    /* A key that was never taken before and is durable: usually from memory, in well under a
     * microsecond. Where none is ready it is made, which waits for the disk: not on the writer's
     * thread. Any thread. ERR_UNAVAILABLE, ERR_IO: none can be made. */
    enum err (*take)(struct keyring *k, struct seal_key *out, struct fault *fault);
    /* The key of this number. ERR_NOT_FOUND: destroyed, or not of this keyring. Any thread. */
    enum err (*find)(struct keyring *k, uint64_t number, struct seal_key *out,
                     struct fault *fault);
    /* Whether find would answer it, without making it: OK, ERR_NOT_FOUND as there, ERR_IO. Any thread. */
    enum err (*have)(struct keyring *k, uint64_t number, struct fault *fault);
    /* Destroys keys: when it answers OK, nothing that could open their boxes is in any file of
     * the keyring. Those destroyed before count as well. `seq`: of the event that asked for it;
     * remembered with it, see erased. Any thread, one at a time. */
    enum err (*destroy)(struct keyring *k, const uint64_t *numbers, uint32_t n, uint64_t seq,
                        struct fault *fault);
    /* The seq that destroy was told last: all erasures up to it are done. Any thread. */
    uint64_t (*erased)(struct keyring *k);
    /* A number that only this cell can make of a hash: for fingerprints of what is personal. */
    struct hash128 (*blind)(struct keyring *k, struct hash128 hash);
    /* Makes keys ahead: called by a thread of its own, or by the simulator. */
    enum err (*tidy)(struct keyring *k, bool *again, struct fault *fault);
    void (*close)(struct keyring *k);
};
/* An implementation embeds this first. */
struct keyring {
    const struct keyring_ops *ops;
    struct rng *rng; /* of nonces */
};

/* What goes with an event instead of its personal members; absent (box.ptr NULL) where there
 * are none. Strings in an arena. */
struct sealed {
    struct str person;
    int64_t key;
    struct str box;
};

/* Encrypts `personal` (JSON) for a person under a fresh key. */
enum err seal_close(struct keyring *keyring, struct str command, struct str person,
                    struct str personal, struct arena *arena, struct sealed *out,
                    struct fault *fault) WARN_UNUSED;
/* The personal members of an event, as JSON in the arena; absent where it has none, or they were
 * erased. ERR_DAMAGED: the box is not what was written; ERR_IO, ERR_NOMEM. */
enum err seal_open(struct keyring *keyring, const struct event_meta *meta, struct arena *arena,
                   struct str *personal, struct fault *fault) WARN_UNUSED;
/* Whether seal_open would find something; for who knows what is in the box. *there false: it was
 * erased, or there is none. */
enum err seal_have(struct keyring *keyring, const struct event_meta *meta, bool *there,
                   struct fault *fault) WARN_UNUSED;
/* The data of a record with its personal members, where the keyring has them: record->data
 * itself where there are none. keyring NULL: always. `meta` is the record's. */
enum err seal_data(struct keyring *keyring, const struct record *record,
                   const struct event_meta *meta, struct json_parser *parser,
                   struct arena *arena, struct str *data, struct fault *fault) WARN_UNUSED;
/* The same where the meta is not loaded yet. */
enum err seal_record(struct keyring *keyring, const struct record *record,
                     struct json_parser *parser, struct arena *arena, struct str *data,
                     struct fault *fault) WARN_UNUSED;

/* The same for what is said of an event: `text` without what is personal in it. Where that can not
 * be told, the text is left out. */
struct str seal_mask_event(struct keyring *keyring, const struct record *record, struct str text,
                           struct json_parser *parser, struct arena *arena);
/* `text` with every value of `personal` (a document as shape_encode_personal writes it) that
 * occurs in it replaced by "…": what others say of a document may repeat what is in it. Texts
 * of less than SEAL_MASK_MIN bytes stay, and numbers of less than SEAL_MASK_NUMBER_MIN digits. In
 * the arena; absent when memory is out. */
struct str seal_mask(struct str text, const struct json *personal, struct arena *arena);
#define SEAL_MASK_MIN 3
/* The same with a document of a partner, of which only the names tell what is likely to be about a
 * person: whatever stands under "email", "customer", "shipping_address" … */
struct str seal_mask_likely(struct str text, const struct json *document, struct arena *arena);
#define SEAL_MASK_NUMBER_MIN 5

/* For keyrings: one block of AES-256 under the secret. Who has not the secret can not tell which
 * documents have a given fingerprint, however few there may be to choose from. */
struct hash128 seal_blind(const uint8_t secret[SEAL_KEY_BYTES], struct hash128 hash);

/* For keyrings: a secret of 32 bytes under a master key, bound to the words that say what it is:
 * nonce, ciphertext, tag. False when memory is out; or where it is not what was wrapped. */
#define SEAL_WRAPPED_BYTES (12 + SEAL_KEY_BYTES + 16)
bool seal_wrap(const uint8_t master[SEAL_KEY_BYTES], struct str bound, struct rng *rng,
               const uint8_t secret[SEAL_KEY_BYTES], uint8_t out[SEAL_WRAPPED_BYTES]);
bool seal_unwrap(const uint8_t master[SEAL_KEY_BYTES], struct str bound,
                 const uint8_t wrapped[SEAL_WRAPPED_BYTES], uint8_t out[SEAL_KEY_BYTES]);

static inline void keyring_close(struct keyring *k) {
    if (k)
        k->ops->close(k);
}

#endif
