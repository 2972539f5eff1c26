/* auth_sign: what a request gets so that the partner knows who calls, and what may not be told of it.
 * Computes; owns nothing. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

#include "base/encode.h"
#include "connect/auth.h"
#include "connect/connector_priv.h"

#define SIGNED_BYTES_MAX ((size_t)32 << 20) /* of the string that is signed */
#define NONCE_BYTES 16

bool auth_value_good(struct str value) {
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < 0x20 || value.ptr[i] == 0x7f)
            return false;
    return true;
}

/* --- HMAC -------------------------------------------------------------------------------- */

struct signing {
    const struct auth_hmac *how;
    const struct net_request *request;
    struct str host, path, query, target;
    struct buf timestamp, nonce, signature;
};

static void url_split(struct str url, struct signing *s) {
    const char *scheme = memmem(url.ptr, url.len, "://", 3);
    size_t at = scheme ? (size_t)(scheme - url.ptr) + 3 : 0, end = at;
    while (end < url.len && url.ptr[end] != '/' && url.ptr[end] != '?')
        end++;
    s->host = str_of(url.ptr + at, end - at);
    struct str rest = str_of(url.ptr + end, url.len - end);
    s->target = rest.len ? rest : STR("/");
    struct str query = rest;
    struct str path = str_cut(&query, '?');
    s->path = path.len ? path : STR("/");
    s->query = query.ptr ? query : STR("");
}

static void timestamp_write(struct buf *out, int32_t form, int64_t now_us) {
    static const char days[] = "ThuFriSatSunMonTueWed", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int64_t seconds = now_us / 1000000, of_day = seconds % 86400;
    int year, month, day;
    switch ((enum auth_time)form) {
    case AUTH_TIME_SECONDS: buf_i64(out, seconds); return;
    case AUTH_TIME_MILLISECONDS: buf_i64(out, now_us / 1000); return;
    case AUTH_TIME_RFC3339:
        instant_write(out, (struct instant){.us = seconds * 1000000});
        return;
    case AUTH_TIME_HTTP: break;
    }
    date_parts((int32_t)(seconds / 86400), &year, &month, &day);
    buf_printf(out, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + seconds / 86400 % 7 * 3, day,
               months + (month - 1) * 3, year, (int)(of_day / 3600), (int)(of_day / 60 % 60),
               (int)(of_day % 60));
}

static void body_digest(struct buf *out, struct str body, const EVP_MD *md, bool base64) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (EVP_Digest(body.ptr ? body.ptr : "", body.len, bytes, &len, md, NULL) != 1) {
        out->failed = true;
        return;
    }
    if (base64)
        base64_write(out, str_of((char *)bytes, len));
    else
        base16_write(out, str_of((char *)bytes, len));
}

/* False: no placeholder of ours. */
static bool placeholder(const struct signing *s, struct str name, struct buf *out) {
    const struct {
        const char *name;
        struct str value;
    } texts[] = {
        {"method", s->request->method}, {"host", s->host}, {"path", s->path}, {"query", s->query},
        {"target", s->target}, {"url", s->request->url}, {"body", s->request->body},
        {"timestamp", buf_str(&s->timestamp)}, {"nonce", buf_str(&s->nonce)},
        {"signature", buf_str(&s->signature)},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (str_is(name, texts[i].name)) {
            buf_str_add(out, texts[i].value);
            return true;
        }
    bool sha256 = str_starts(name, STR("body_sha256")), sha512 = str_starts(name, STR("body_sha512"));
    struct str form = sha256 || sha512 ? str_of(name.ptr + 11, name.len - 11) : STR_NONE;
    if (!form.ptr || (form.len && !str_is(form, "_base64")))
        return false;
    body_digest(out, s->request->body, sha256 ? EVP_sha256() : EVP_sha512(), form.len > 0);
    return true;
}

static void expand(const struct signing *s, struct str pattern, struct buf *out) {
    while (pattern.len > 0) {
        const char *open = memchr(pattern.ptr, '{', pattern.len);
        size_t plain = open ? (size_t)(open - pattern.ptr) : pattern.len;
        buf_add(out, pattern.ptr, plain);
        pattern = str_of(pattern.ptr + plain, pattern.len - plain);
        const char *close = open ? memchr(open, '}', pattern.len) : NULL;
        if (!open)
            break;
        if (close && placeholder(s, str_of(open + 1, (size_t)(close - open) - 1), out)) {
            size_t len = (size_t)(close - open) + 1;
            pattern = str_of(close + 1, pattern.len - len);
        } else {
            buf_char(out, '{');
            pattern = str_of(open + 1, pattern.len - 1);
        }
    }
}

static bool sign(struct signing *s) {
    struct buf text;
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    struct str key = s->how->secret;
    buf_init(&text, SIGNED_BYTES_MAX);
    expand(s, s->how->string, &text);
    struct str in = buf_str(&text);
    bool good = buf_ok(&text) &&
                HMAC(s->how->digest == AUTH_SHA512 ? EVP_sha512() : EVP_sha256(), key.ptr, (int)key.len,
                     (const unsigned char *)in.ptr, in.len, bytes, &len) != NULL;
    if (good && s->how->form == AUTH_BASE64)
        base64_write(&s->signature, str_of((char *)bytes, len));
    else if (good)
        base16_write(&s->signature, str_of((char *)bytes, len));
    buf_free(&text);
    return good;
}

static enum err hmac_apply(const struct auth_hmac *how, struct clock *clock, struct rng *rng,
                           struct arena *arena, struct net_request *request, struct net_header *headers,
                           struct fault *fault) {
    struct signing s = {.how = how, .request = request};
    unsigned char nonce[NONCE_BYTES];
    struct buf value;
    buf_init(&s.timestamp, 64);
    buf_init(&s.nonce, 64);
    buf_init(&s.signature, 256);
    buf_init(&value, LOAD_TEXT_BYTES_MAX);
    url_split(request->url, &s);
    timestamp_write(&s.timestamp, how->timestamp, clock_now_us(clock));
    rng_fill(rng, nonce, sizeof nonce);
    base16_write(&s.nonce, str_of((char *)nonce, sizeof nonce));
    enum err err = sign(&s) ? OK : fault_set(fault, ERR_INTERNAL, "the request could not be signed");
    for (uint32_t i = 0; err == OK && i < how->header_count; i++) {
        buf_clear(&value);
        expand(&s, how->headers[i].value, &value);
        struct str text = arena_str(arena, buf_str(&value));
        if (!text.ptr || !buf_ok(&value))
            err = fault_set(fault, ERR_NOMEM, "no memory for a request");
        headers[request->header_count++] = (struct net_header){how->headers[i].name, text};
    }
    buf_free(&s.timestamp);
    buf_free(&s.nonce);
    buf_free(&s.signature);
    buf_free(&value);
    return err;
}

/* --- the others -------------------------------------------------------------------------- */

static enum err query_add(struct net_request *request, struct str name, struct str value,
                          struct arena *arena, struct fault *fault) {
    struct buf url;
    buf_init(&url, LOAD_TEXT_BYTES_MAX);
    buf_str_add(&url, request->url);
    buf_char(&url, request->url.len && memchr(request->url.ptr, '?', request->url.len) ? '&' : '?');
    form_encode(&url, name);
    buf_char(&url, '=');
    form_encode(&url, value);
    request->url = buf_ok(&url) ? arena_str(arena, buf_str(&url)) : STR_NONE;
    buf_free(&url);
    return request->url.ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for a request");
}

enum err auth_apply(const struct connector_auth *auth, struct str value, struct clock *clock,
                    struct rng *rng, struct arena *arena, struct net_request *request,
                    struct fault *fault) {
    uint32_t more = auth->kind == AUTH_HMAC ? auth->hmac->header_count : 1;
    struct net_header *headers = arena_array(arena, request->header_count + more, sizeof *headers);
    struct str name = STR("Authorization");
    if (headers == NULL)
        return fault_set(fault, ERR_NOMEM, "no memory for a request");
    for (uint32_t i = 0; i < request->header_count; i++)
        headers[i] = request->headers[i];
    request->headers = headers;
    switch (auth->kind) {
    case AUTH_BASIC: value = auth->basic->value; break;
    case AUTH_BEARER: value = arena_printf(arena, "Bearer %.*s", STR_FMT(auth->bearer->token)); break;
    case AUTH_OAUTH2: name = auth->oauth2->header; break;
    case AUTH_SESSION: name = auth->session->header; break;
    case AUTH_HMAC: return hmac_apply(auth->hmac, clock, rng, arena, request, headers, fault);
    case AUTH_API_KEY:
        if (auth->api_key->query.len)
            return query_add(request, auth->api_key->query, auth->api_key->value, arena, fault);
        name = auth->api_key->header;
        value = auth->api_key->value;
        break;
    }
    if (!value.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for a request");
    headers[request->header_count++] = (struct net_header){name, value};
    return OK;
}

/* --- what may not be told ---------------------------------------------------------------- */

static bool mask_one(struct str *text, struct str secret, struct arena *arena) {
    if (secret.len < 6 || !memmem(text->ptr, text->len, secret.ptr, secret.len))
        return true;
    struct buf out;
    struct str rest = *text;
    buf_init(&out, 0);
    while (rest.len > 0) {
        const char *at = memmem(rest.ptr, rest.len, secret.ptr, secret.len);
        size_t plain = at ? (size_t)(at - rest.ptr) : rest.len;
        buf_add(&out, rest.ptr, plain);
        if (!at)
            break;
        buf_lit(&out, "…");
        rest = str_of(at + secret.len, rest.len - plain - secret.len);
    }
    *text = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text->ptr != NULL;
}

/* "Bearer abc": the word before it is no secret, and a partner may repeat the rest alone. */
static struct str behind_space(struct str value) {
    const char *space = value.len ? memrchr(value.ptr, ' ', value.len) : NULL;
    return space ? str_of(space + 1, value.len - (size_t)(space - value.ptr) - 1) : value;
}

struct str auth_mask(const struct connector_auth *auth, struct str kept, struct str refresh,
                     struct str text, struct arena *arena) {
    bool good = text.ptr != NULL;
    for (uint32_t i = 0; good && i < auth->secret_count; i++)
        good = mask_one(&text, auth->secrets[i], arena);
    good = good && mask_one(&text, behind_space(kept), arena) && mask_one(&text, refresh, arena);
    return good ? text : STR_NONE;
}
