/* signature: is a webhook from whom it says? Checked over the bytes as they came, in a time
 * that does not tell how near a wrong signature was. Several secrets may be active at once
 * (rotation): one must fit. The schemes are the rows of signatures.def.
 *
 * Schemes with a signed time (stripe, standard-webhooks) refuse what is off by more than the
 * tolerance, so that a message that was overheard can not be sent again later; within it, the
 * sender's id makes a repeated message the same one (receive.h). */
#ifndef PENSTOCK_CONNECT_SIGNATURE_H
#define PENSTOCK_CONNECT_SIGNATURE_H

#include "connect/connector.h"
#include "connect/receive.h"

/* What came. */
struct signature_message {
    const struct receive_header_source *headers;
    struct str body;
    struct json_parser *parser; /* of the caller's thread: for schemes that sign members */
    int64_t now_us;
};

/* OK, or ERR_UNAUTHENTICATED with a detail that tells what is missing or wrong, never what
 * would have been right; ERR_NOMEM. */
enum err signature_verify(const struct connector_signature *signature,
                          const struct signature_message *message,
                          struct fault *fault) WARN_UNUSED;

/* What a sender would put into the header, for tests and the sandbox: appends it to out. id
 * and seconds are used by the schemes that have them; `body` is what is signed besides (square:
 * url and body, adyen: the members, joined). */
enum err signature_write(enum signature_scheme scheme, struct str secret, struct str id,
                         int64_t seconds, struct str body, struct buf *out,
                         struct fault *fault) WARN_UNUSED;

/* What is wrong with a secret of this scheme, in words; NULL: nothing. */
const char *signature_secret_wrong(enum signature_scheme scheme, struct str secret);
/* Whether connector.yaml must name the header; where the sender's id is by the scheme's own
 * rules (both absent: nowhere). */
bool signature_needs_header(enum signature_scheme scheme);
struct connector_place signature_dedup(enum signature_scheme scheme);

extern const char *const signature_schemes[]; /* names by enum signature_scheme */

#endif
