/* signature: is a webhook from whom it says? Checked over the bytes as they came, in a time
 * that does not tell how near a wrong signature was. Several secrets may be active at once
 * (rotation): one must fit.
 *
 *   hmac-sha256-base64   header = base64(HMAC-SHA256(secret, body))     Shopify, WooCommerce
 *   hmac-sha256-hex      header = hex(…), often behind a prefix "sha256="
 *   stripe               header "t=SECONDS,v1=HEX[,v1=HEX]": over "SECONDS.body"
 *   standard-webhooks    webhook-id, webhook-timestamp, webhook-signature "v1,BASE64 …": over
 *                        "id.SECONDS.body"; secret is base64 behind "whsec_"
 *                        (Standard Webhooks 1.0)
 * The last two carry a time: refused when it is off by more than the tolerance. */
#ifndef PENSTOCK_CONNECT_SIGNATURE_H
#define PENSTOCK_CONNECT_SIGNATURE_H

#include "connect/connector.h"
#include "connect/receive.h"

/* OK, or ERR_UNAUTHENTICATED with a detail that tells what is missing or wrong, never what
 * would have been right; ERR_NOMEM. */
enum err signature_verify(const struct connector_signature *signature,
                          const struct receive_header_source *headers, struct str body,
                          int64_t now_us, struct fault *fault) WARN_UNUSED;

/* What a sender would put into the header, for tests and the sandbox: appends it to out.
 * id and seconds are used by the schemes that have them. */
enum err signature_write(enum signature_scheme scheme, struct str secret, struct str id,
                         int64_t seconds, struct str body, struct buf *out,
                         struct fault *fault) WARN_UNUSED;

extern const char *const signature_schemes[]; /* names by enum signature_scheme */

#endif
