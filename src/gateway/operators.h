/* operators: the hub as a client of an identity provider (OpenID Connect Core 1.0, the
 * authorization code flow with PKCE): its metadata (Discovery 1.0) and keys, kept fresh; a code
 * becomes an ID token, and that, verified, a person with scopes.
 *
 * Threads: one thread owns it and its net, and calls operators_step (gateway/callers.c gives it
 * one). A loop hands over a `signin` and looks whether it is done; it never waits for the provider.
 *
 * What always holds: a signin ends, at the latest when its calls have timed out; at most SIGNINS_MAX
 * are under way; nothing that the provider did not sign for this hub and this sign-in (iss, aud,
 * azp, exp, nonce, at_hash, the algorithms of the configuration) becomes a person. */
#ifndef PENSTOCK_GATEWAY_OPERATORS_H
#define PENSTOCK_GATEWAY_OPERATORS_H

#include <stdatomic.h>

#include "gateway/jwks.h"
#include "gateway/login.h"
#include "gateway/session.h"

#define SIGNINS_MAX 64
#define SIGNIN_CODE_MAX 2048

struct operators_options {
    const struct config *config; /* with auth->operators */
    const struct router *router;
    struct clock *clock;
};
struct operators;
/* ERR_INVALID: the configuration gives a scope that no route knows. */
enum err operators_create(const struct operators_options *options, struct operators **out,
                          struct fault *fault) WARN_UNUSED;
void operators_destroy(struct operators *operators); /* NULL is fine; stopped before, if it ran */

/* --- the owner's thread --------------------------------------------------------------------- */
/* Whom to call, on any thread, when operators_step is to be called. Before the first step. */
void operators_wake_set(struct operators *operators, void (*wake)(void *ctx), void *ctx);
/* Does what is due; the net is the same at each call. */
void operators_step(struct operators *operators, struct net *net);
/* Ends what is under way: before its net closes. */
void operators_stop(struct operators *operators);

/* --- any thread ----------------------------------------------------------------------------- */
/* Where the browser is sent, in the arena; absent while the metadata is not at hand. */
struct str operators_endpoint(struct operators *operators, struct arena *arena);
/* Whether the provider promises to name itself when the browser comes back (RFC 9207). */
bool operators_names_issuer(struct operators *operators);

struct signin;
/* Waits for the metadata alone (code absent), or redeems a code. ERR_UNAVAILABLE: too many. */
enum err signin_start(struct operators *operators, struct str code, const struct login *login,
                      struct signin **out, struct fault *fault) WARN_UNUSED;
bool signin_done(const struct signin *signin);
/* Once it is done. ERR_UNAUTHENTICATED: the provider, or its token, says no; ERR_FORBIDDEN: who may
 * do nothing here; ERR_UNAVAILABLE: the provider can not be asked. */
enum err signin_result(const struct signin *signin, struct session_who *who, struct fault *fault);
/* Gives it back, done or not. */
void signin_unref(struct signin *signin);

#endif
