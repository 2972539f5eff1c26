/* callers: what the loops share about who calls: the keys of issuers (jwks), the hub's own keys
 * for tokens, when API keys were used last. Owns a thread that fetches, rotates and writes, so
 * that no loop ever waits for another system or for the disk on their account. */
#ifndef PENSTOCK_GATEWAY_CALLERS_H
#define PENSTOCK_GATEWAY_CALLERS_H

#include "base/metric.h"
#include "core/config.h"
#include "gateway/jwks.h"
#include "gateway/token_key.h"

struct operators;
struct callers_options {
    const char *keys_path;
    const struct config *config;
    struct clock *clock;
    struct str issuer; /* of the hub's own tokens; must outlive it */
    struct operators *operators; /* NULL: nobody signs in. Its thread is this one's; must outlive it */
};
struct callers;
/* Reads the key file and the key sets that are files; nothing is fetched yet. */
enum err callers_create(const struct callers_options *options, struct callers **out,
                        struct fault *fault) WARN_UNUSED;
enum err callers_start(struct callers *callers, struct fault *fault) WARN_UNUSED;
/* Ends the thread, writes what is not written yet. */
void callers_destroy(struct callers *callers);

/* --- any thread ----------------------------------------------------------------------------- */
struct jwks *callers_jwks(struct callers *callers); /* source i: the i-th issuer of the config */
struct str callers_issuer(const struct callers *callers);
/* A reference of your own. */
struct token_keys *callers_token_keys(struct callers *callers);
/* Changes with callers_token_keys. */
uint64_t callers_token_generation(const struct callers *callers);
/* Notes that a key was used; false where too many wait to be written: try at its next use. */
bool callers_used(struct callers *callers, struct str id, int64_t us);
void callers_figures(struct callers *callers, struct metrics *out);

#endif
