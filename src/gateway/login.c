/* login: see login.h. The cookie is ID.BACK.MAC, each in base64url. */
#include "gateway/login.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>
#include <pthread.h>

#include "base/encode.h"
#include "base/mem.h"
#include "base/rng.h"

#define MAC_BYTES 32

struct logins {
    struct clock *clock;
    int64_t life_us;
    uint8_t key[32];
    pthread_mutex_t lock;
    uint8_t used[LOGINS_USED][sizeof((struct login *)0)->id]; /* under the lock: a ring */
    uint32_t next;
};

static void mac(const struct logins *logins, const char *what, struct str text,
                uint8_t out[MAC_BYTES]) {
    uint8_t data[2048];
    size_t len = strlen(what) + 1; /* the NUL parts the two */
    unsigned out_len = 0;

    must(len + text.len <= sizeof data);
    memcpy(data, what, len);
    memcpy(data + len, text.ptr, text.len);
    must(HMAC(EVP_sha256(), logins->key, sizeof logins->key, data, len + text.len, out, &out_len) &&
         out_len == MAC_BYTES);
}

static bool word_write(const uint8_t bytes[MAC_BYTES], char out[LOGIN_WORD_LEN]) {
    struct buf text;
    bool fine;

    buf_init(&text, 64);
    base64url_write(&text, str_of((const char *)bytes, MAC_BYTES));
    fine = buf_ok(&text);
    if (fine)
        memcpy(out, text.data, LOGIN_WORD_LEN);
    buf_free(&text);
    return fine;
}

static bool word_make(const struct logins *logins, const char *what, const struct login *login,
                      char out[LOGIN_WORD_LEN]) {
    uint8_t bytes[MAC_BYTES];

    mac(logins, what, str_of((const char *)login->id, sizeof login->id), bytes);
    return word_write(bytes, out);
}

static bool words_make(const struct logins *logins, struct login *login) {
    uint8_t print[SHA256_DIGEST_LENGTH];

    if (!word_make(logins, "state", login, login->state) ||
        !word_make(logins, "nonce", login, login->nonce) ||
        !word_make(logins, "verifier", login, login->verifier))
        return false;
    SHA256((const unsigned char *)login->verifier, LOGIN_WORD_LEN, print);
    return word_write(print, login->challenge);
}

bool login_back_ok(struct str path) {
    if (path.len == 0 || path.len > LOGIN_RETURN_MAX || path.ptr[0] != '/' ||
        (path.len > 1 && path.ptr[1] == '/'))
        return false;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.ptr[i];

        if (c <= 0x20 || c >= 0x7f || c == '\\')
            return false;
    }
    return true;
}

/* The first 8 bytes of an id: microseconds since 1970, big-endian. */
static int64_t began_us(const struct login *login) {
    uint64_t us = 0;

    for (int i = 0; i < 8; i++)
        us = us << 8 | login->id[i];
    return (int64_t)us;
}

struct str login_begin(struct logins *logins, struct str back, struct arena *arena,
                       struct login *out) {
    uint64_t now_us = (uint64_t)clock_now_us(logins->clock);
    uint8_t sum[MAC_BYTES];
    struct buf text;
    struct str cookie = STR_NONE;

    must(login_back_ok(back));
    out->back = back;
    for (int i = 0; i < 8; i++)
        out->id[i] = (uint8_t)(now_us >> (56 - 8 * i));
    rng_fill(&rng_system, out->id + 8, sizeof out->id - 8);
    buf_init(&text, 2048);
    base64url_write(&text, str_of((char *)out->id, sizeof out->id));
    buf_char(&text, '.');
    base64url_write(&text, back);
    if (buf_ok(&text)) {
        mac(logins, "cookie", buf_str(&text), sum);
        buf_char(&text, '.');
        base64url_write(&text, str_of((char *)sum, sizeof sum));
    }
    if (buf_ok(&text) && words_make(logins, out))
        cookie = arena_str(arena, buf_str(&text));
    buf_free(&text);
    return cookie;
}

bool login_read(struct logins *logins, struct str cookie, struct arena *arena, struct login *out) {
    struct str rest = cookie, id, back, given;
    uint8_t sum[MAC_BYTES];
    int64_t age_us;

    if (!cookie.ptr || cookie.len > 1024)
        return false;
    id = str_cut(&rest, '.');
    back = rest.ptr ? str_cut(&rest, '.') : STR_NONE;
    if (!back.ptr || !rest.ptr)
        return false;
    mac(logins, "cookie", str_of(cookie.ptr, id.len + 1 + back.len), sum);
    given = base64url_read(arena, rest);
    if (!given.ptr || !str_eq_secret(given, str_of((char *)sum, sizeof sum)))
        return false;
    id = base64url_read(arena, id);
    out->back = base64url_read(arena, back);
    if (id.len != sizeof out->id || !out->back.ptr || !login_back_ok(out->back))
        return false;
    memcpy(out->id, id.ptr, sizeof out->id);
    age_us = clock_now_us(logins->clock) - began_us(out);
    return age_us >= 0 && age_us < logins->life_us && words_make(logins, out);
}

bool login_end(struct logins *logins, const struct login *login) {
    bool fresh = true;

    pthread_mutex_lock(&logins->lock);
    for (uint32_t i = 0; i < LOGINS_USED && fresh; i++)
        fresh = memcmp(logins->used[i], login->id, sizeof login->id) != 0;
    if (fresh)
        memcpy(logins->used[logins->next++ % LOGINS_USED], login->id, sizeof login->id);
    pthread_mutex_unlock(&logins->lock);
    return fresh;
}

struct logins *logins_create(struct clock *clock, int64_t life_s) {
    struct logins *logins = mem_zalloc(sizeof *logins);

    if (!logins)
        return NULL;
    logins->clock = clock;
    logins->life_us = life_s * 1000000;
    rng_fill(&rng_system, logins->key, sizeof logins->key);
    pthread_mutex_init(&logins->lock, NULL);
    return logins;
}

void logins_destroy(struct logins *logins) {
    if (!logins)
        return;
    pthread_mutex_destroy(&logins->lock);
    mem_free(logins);
}
