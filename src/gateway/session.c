/* session: see session.h. Owns the table: entries found by the beginning of their hash. */
#include "gateway/session.h"

#include <openssl/sha.h>
#include <pthread.h>

#include "base/encode.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rng.h"

struct session {
    bool used;
    uint8_t print[SHA256_DIGEST_LENGTH];
    int64_t began_us, last_us; /* clock_tick_us */
    struct session_who who;
};

struct session_table {
    struct session_table_options options;
    pthread_mutex_t lock;
    /* under the lock */
    struct map map;
    struct session *entries;
    uint32_t count; /* entries that were ever used */
};

static uint64_t hash_of_print(const uint8_t print[SHA256_DIGEST_LENGTH]) {
    uint64_t hash;

    memcpy(&hash, print, sizeof hash); /* evenly spread; nobody can choose it */
    return hash;
}

static uint64_t hash_of(const void *ctx, uint32_t index) {
    const struct session_table *sessions = ctx;

    return hash_of_print(sessions->entries[index].print);
}

static bool is_of(const void *ctx, uint32_t index, const void *print) {
    const struct session_table *sessions = ctx;

    return memcmp(sessions->entries[index].print, print, SHA256_DIGEST_LENGTH) == 0;
}

/* Under the lock, as all below that take an index. */
static bool is_over(const struct session_table *sessions, const struct session *s, int64_t now_us) {
    return now_us - s->last_us >= sessions->options.idle_us ||
           now_us - s->began_us >= sessions->options.life_us;
}

static void drop(struct session_table *sessions, uint32_t index) {
    must(map_remove(&sessions->map, hash_of(sessions, index), index));
    memset(&sessions->entries[index], 0, sizeof *sessions->entries);
}

static uint32_t find(struct session_table *sessions, struct str token) {
    uint8_t print[SHA256_DIGEST_LENGTH];

    if (token.len != SESSION_TOKEN_LEN)
        return MAP_NONE;
    SHA256((const unsigned char *)token.ptr, token.len, print);
    return map_find(&sessions->map, hash_of_print(print), is_of, sessions, print);
}

/* A free place: what is over goes, then what is one too many. Beginning a session is rare, so it
 * looks at all of them. */
static uint32_t place_make(struct session_table *sessions, const char *actor, int64_t now_us) {
    uint32_t idlest = MAP_NONE, own_idlest = MAP_NONE, own = 0;

    for (uint32_t i = 0; i < sessions->count; i++) {
        struct session *s = &sessions->entries[i];

        if (s->used && is_over(sessions, s, now_us))
            drop(sessions, i);
        if (!s->used)
            continue;
        if (idlest == MAP_NONE || s->last_us < sessions->entries[idlest].last_us)
            idlest = i;
        if (strcmp(s->who.actor, actor) != 0)
            continue;
        own++;
        if (own_idlest == MAP_NONE || s->last_us < sessions->entries[own_idlest].last_us)
            own_idlest = i;
    }
    if (own >= SESSIONS_PER_PERSON) {
        drop(sessions, own_idlest);
        return own_idlest;
    }
    for (uint32_t i = 0; i < sessions->count; i++)
        if (!sessions->entries[i].used)
            return i;
    if (sessions->count < sessions->options.max)
        return sessions->count++;
    drop(sessions, idlest);
    return idlest;
}

enum err session_begin(struct session_table *sessions, const struct session_who *who,
                       char token[SESSION_TOKEN_LEN], struct fault *fault) {
    int64_t now_us = clock_tick_us(sessions->options.clock);
    uint8_t secret[32];
    struct session *s;
    struct buf text;
    bool fine;

    rng_fill(&rng_system, secret, sizeof secret);
    buf_init(&text, 64);
    base64url_write(&text, str_of((char *)secret, sizeof secret));
    fine = buf_ok(&text);
    must(!fine || text.len == SESSION_TOKEN_LEN);
    if (fine)
        memcpy(token, text.data, SESSION_TOKEN_LEN);
    buf_free(&text);
    if (!fine)
        return fault_set(fault, ERR_NOMEM, "no memory for a session");
    pthread_mutex_lock(&sessions->lock);
    uint32_t index = place_make(sessions, who->actor, now_us);
    s = &sessions->entries[index];
    SHA256((const unsigned char *)token, SESSION_TOKEN_LEN, s->print);
    fine = map_add(&sessions->map, hash_of_print(s->print), index, hash_of, sessions);
    s->used = fine;
    s->began_us = s->last_us = now_us;
    s->who = *who;
    pthread_mutex_unlock(&sessions->lock);
    return fine ? OK : fault_set(fault, ERR_NOMEM, "no memory for a session");
}

bool session_find(struct session_table *sessions, struct str token, struct session_who *who,
                  int64_t *left_us) {
    int64_t now_us = clock_tick_us(sessions->options.clock);
    uint32_t index;

    pthread_mutex_lock(&sessions->lock);
    index = find(sessions, token);
    if (index != MAP_NONE && is_over(sessions, &sessions->entries[index], now_us)) {
        drop(sessions, index);
        index = MAP_NONE;
    }
    if (index != MAP_NONE) {
        struct session *s = &sessions->entries[index];

        s->last_us = now_us;
        *who = s->who;
        if (left_us)
            *left_us = s->began_us + sessions->options.life_us - now_us;
    }
    pthread_mutex_unlock(&sessions->lock);
    return index != MAP_NONE;
}

bool session_end(struct session_table *sessions, struct str token) {
    uint32_t index;

    pthread_mutex_lock(&sessions->lock);
    index = find(sessions, token);
    if (index != MAP_NONE)
        drop(sessions, index);
    pthread_mutex_unlock(&sessions->lock);
    return index != MAP_NONE;
}

enum err session_table_create(const struct session_table_options *options, struct session_table **out,
                         struct fault *fault) {
    struct session_table *sessions = mem_zalloc(sizeof *sessions);

    *out = NULL;
    must(options->max > 0);
    if (sessions)
        sessions->entries = mem_zalloc(options->max * sizeof *sessions->entries);
    if (!sessions || !sessions->entries) {
        mem_free(sessions);
        return fault_set(fault, ERR_NOMEM, "no memory for sessions");
    }
    sessions->options = *options;
    pthread_mutex_init(&sessions->lock, NULL);
    map_init(&sessions->map);
    *out = sessions;
    return OK;
}

void session_table_destroy(struct session_table *sessions) {
    if (!sessions)
        return;
    map_free(&sessions->map);
    pthread_mutex_destroy(&sessions->lock);
    mem_free(sessions->entries);
    mem_free(sessions);
}
