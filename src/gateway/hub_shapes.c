/* hub_shapes: what the gateway's own answers hold (hub_routes.c writes them by hand). */
#include "gateway/hub_shapes.h"

static const char *const bulk_states[] = {"waits", "taken", NULL};

static const struct shape_field alive_rows[] = {
    SHAPE_SAID("alive", SHAPE_BOOL, "Always true", .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(alive_shape, "alive", "The process lives", alive_rows);

static const struct shape_field ready_read_model_rows[] = {
    SHAPE_SAID("behind", SHAPE_INTEGER, "Events the tables for queries lack",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("behind_ms", SHAPE_INTEGER, "Age of the oldest of these, in ms",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("bulk", SHAPE_ENUM, "Whether bulk calls are taken", .flags = SHAPE_REQUIRED,
               .values = bulk_states),
};
static SHAPE_DEFINE_SAID(ready_read_model_shape, "ready_read_model", "The tables for queries",
                         ready_read_model_rows);
static const struct shape_field ready_connectors_rows[] = {
    SHAPE_SAID("rejected", SHAPE_INTEGER, "Folders with a version that is not taken",
               .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(ready_connectors_shape, "ready_connectors", "The connectors",
                         ready_connectors_rows);
static const struct shape_field ready_subscriptions_rows[] = {
    SHAPE_SAID("stopped", SHAPE_INTEGER, "Subscriptions that stand still until a person starts them",
               .flags = SHAPE_REQUIRED),
};
static SHAPE_DEFINE_SAID(ready_subscriptions_shape, "ready_subscriptions", "What goes out",
                         ready_subscriptions_rows);
static const struct shape_field ready_rows[] = {
    SHAPE_SAID("ready", SHAPE_BOOL, "Always true: else the answer is 503", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("seq", SHAPE_INTEGER, "The newest position of the journal", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("read_model", SHAPE_OBJECT, "The tables for queries", .flags = SHAPE_REQUIRED,
               .shape = &ready_read_model_shape),
    SHAPE_SAID("connectors", SHAPE_OBJECT, "The connectors", .shape = &ready_connectors_shape),
    SHAPE_SAID("subscriptions", SHAPE_OBJECT, "What goes out", .flags = SHAPE_REQUIRED,
               .shape = &ready_subscriptions_shape),
};
SHAPE_DEFINE_SAID(ready_shape, "ready", "The hub takes work", ready_rows);

static const struct shape_field token_rows[] = {
    SHAPE_SAID("access_token", SHAPE_TEXT, "For Authorization: Bearer", .flags = SHAPE_REQUIRED,
               .max = 16384),
    SHAPE_SAID("token_type", SHAPE_TEXT, "Always Bearer", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("expires_in", SHAPE_INTEGER, "Its life in seconds", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("scope", SHAPE_TEXT, "What it may, words with spaces between",
               .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(token_answer_shape, "token", "An access token (RFC 6749, section 5.1)",
                  token_rows);
static const struct shape_field token_error_rows[] = {
    SHAPE_SAID("error", SHAPE_CODE, "invalid_request, invalid_client, invalid_scope …",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("error_description", SHAPE_TEXT, "What is wrong"),
};
SHAPE_DEFINE_SAID(token_error_shape, "token_error", "Why there is no token (RFC 6749, section 5.2)",
                  token_error_rows);
static const struct shape_field jwk_rows[] = {
    SHAPE_SAID("kty", SHAPE_CODE, "Kind of key", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("kid", SHAPE_TEXT, "Its name in tokens", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("alg", SHAPE_CODE, "What it verifies"),
    SHAPE_SAID("use", SHAPE_CODE, "sig"),
    SHAPE_SAID("crv", SHAPE_CODE, "The curve"),
    SHAPE_SAID("x", SHAPE_TEXT, "The point"),
    SHAPE_SAID("y", SHAPE_TEXT, "The point"),
};
static SHAPE_DEFINE_SAID(jwk_shape, "jwk", "A public key (RFC 7517)", jwk_rows);
static const struct shape_field jwks_rows[] = {
    SHAPE_SAID("keys", SHAPE_LIST, "Those that verify tokens now", .flags = SHAPE_REQUIRED,
               .shape = &jwk_shape),
};
SHAPE_DEFINE_SAID(jwks_shape, "jwks", "The hub's public keys", jwks_rows);
static const struct shape_field metadata_rows[] = {
    SHAPE_SAID("issuer", SHAPE_TEXT, "iss of the hub's tokens", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("token_endpoint", SHAPE_TEXT, "Where tokens are made", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("jwks_uri", SHAPE_TEXT, "Where the keys are", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("service_documentation", SHAPE_TEXT, "Where this is described"),
    SHAPE_SAID("grant_types_supported", SHAPE_LIST, "What it can", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("token_endpoint_auth_methods_supported", SHAPE_LIST, "How clients are known",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("scopes_supported", SHAPE_LIST, "All scopes", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("response_types_supported", SHAPE_LIST, "None: there is no authorization endpoint"),
};
SHAPE_DEFINE_SAID(token_metadata_shape, "authorization_server",
                  "The hub as an authorization server (RFC 8414)", metadata_rows);

static const struct shape_field location_rows[] = {
    SHAPE_SAID("location", SHAPE_TEXT, "Where the browser goes, as in the header Location",
               .flags = SHAPE_REQUIRED, .max = 16384),
};
SHAPE_DEFINE_SAID(location_shape, "location_answer", "Where to go", location_rows);
static const struct shape_field me_rows[] = {
    SHAPE_SAID("subject", SHAPE_TEXT, "The person, as the identity provider knows them",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("name", SHAPE_TEXT, "As people read it", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("caller", SHAPE_TEXT, "In events and the audit", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("scopes", SHAPE_LIST, "What they may", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("until", SHAPE_INSTANT, "When the session ends in any case", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("idle_seconds", SHAPE_INTEGER, "It ends so long after its last call",
               .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(me_shape, "me", "Who has signed in", me_rows);
static const struct shape_field logout_rows[] = {
    SHAPE_SAID("ended", SHAPE_BOOL, "Always true", .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(logout_shape, "logout_answer", "The session has ended", logout_rows);

static const struct shape_field operation_body_rows[] = {
    SHAPE_SAID("ext", SHAPE_OPEN, "The members are the operation's own: its connector says which"),
};
const struct shape operation_body_shape = {.name = "operation_body",
                                           .help = "What the operation takes, as its connector says",
                                           .fields = operation_body_rows,
                                           .count = 1,
                                           .open = true};
static const struct shape_field operation_answer_rows[] = {
    SHAPE_SAID("role", SHAPE_CODE, "Whose holder was asked", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("operation", SHAPE_CODE, "What was asked", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("connector", SHAPE_CODE, "Who was asked", .flags = SHAPE_REQUIRED),
    SHAPE_SAID("fallback", SHAPE_BOOL, "true: the declared answer, not the system's",
               .flags = SHAPE_REQUIRED),
    SHAPE_SAID("reason", SHAPE_TEXT, "Why the fallback was taken"),
    SHAPE_SAID("answer", SHAPE_OPEN, "What the operation answers, as its connector says",
               .flags = SHAPE_REQUIRED),
};
SHAPE_DEFINE_SAID(operation_answer_shape, "operation_answer", "The answer of an operation",
                  operation_answer_rows);
