/* signature_priv: the digests (signature_mac.c) as the schemes (signature.c, signature_adyen.c)
 * use them. */
#ifndef PENSTOCK_CONNECT_SIGNATURE_PRIV_H
#define PENSTOCK_CONNECT_SIGNATURE_PRIV_H

#include "connect/signature.h"

/* Bytes of a secret as it is written, and of all that one check needs besides the body. */
#define SECRET_BYTES_MAX 1024

enum key_form {
    KEY_TEXT,  /* its bytes are the key */
    KEY_WHSEC, /* base64, "whsec_" before it or not */
    KEY_HEX,
};
enum digest_form { DIGEST_HEX, DIGEST_BASE64 };

/* One row of signatures.def. */
struct scheme {
    const char *name;
    enum err (*verify)(const struct connector_signature *signature,
                       const struct signature_message *message, struct fault *fault);
    enum key_form key;
    enum digest_form digest;
    const char *header, *dedup_header, *dedup_member;
};
const struct scheme *scheme_of(const struct connector_signature *signature);

/* The key's bytes, in the arena where they are not the text itself; absent: it is no key. */
struct str key_bytes(enum key_form form, struct str secret, struct arena *arena);

/* HMAC-SHA256 of the parts, one behind the other, as text in `room`; absent: it could not be
 * computed. */
#define DIGEST_ROOM 72
struct str digest_text(enum digest_form form, struct str key, const struct str *parts, size_t count,
                       char room[DIGEST_ROOM]);

/* OK where any secret gives any of the signatures: all are tried, whatever fits. */
enum err signatures_compare(const struct connector_signature *signature, const struct str *parts,
                            size_t part_count, const struct str *given, size_t given_count,
                            struct fault *fault) WARN_UNUSED;
/* The same for Ed25519 (RFC 8032): public keys are the secrets behind "whpk_". */
enum err signatures_compare_public(const struct connector_signature *signature,
                                   const struct str *parts, size_t part_count,
                                   const struct str *given, size_t given_count,
                                   struct fault *fault) WARN_UNUSED;
#define PUBLIC_KEY_PREFIX STR("whpk_")

enum err signature_refuse(struct fault *fault, const char *what);
enum err signature_broken(struct fault *fault);

enum err verify_adyen(const struct connector_signature *signature,
                      const struct signature_message *message, struct fault *fault) WARN_UNUSED;

#endif
