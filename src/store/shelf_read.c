/* shelf_read: see shelf_priv.h. Asking: maybe, get, each; the connections for it.
 *
 * Always true: who reads holds a view, and with it the chunks of its runs; a transaction lasts
 * for one chunk, so that nobody keeps the WAL from starting over. */
#include "base/mem.h"
#include "store/shelf_priv.h"

#define IDLE_READERS_MAX 16u

/* --- connections to read with -------------------------------------------------------------- */

static void conn_destroy(struct shelf_conn *conn) {
    conn_finish(conn);
    db_close(conn->db);
    mem_free(conn);
}

static enum err conn_take(struct shelf_sqlite *s, struct shelf_conn **out, struct fault *fault) {
    if (s->exclusive) {
        *out = &s->writer;
        return s->writer.db ? OK
                            : fault_set(fault, ERR_DAMAGED, "the written state is not open");
    }
    pthread_mutex_lock(&s->pool_lock);
    struct shelf_conn *conn = *out = s->idle;
    if (conn) {
        s->idle = conn->next;
        s->idle_count--;
    }
    pthread_mutex_unlock(&s->pool_lock);
    if (conn)
        return OK;
    conn = mem_zalloc(sizeof *conn);
    if (!conn)
        return fault_set(fault, ERR_NOMEM, "no memory to read the written state");
    enum err err = shelf_connect(s, false, NULL, &conn->db, fault);
    if (err == OK)
        err = conn_prepare(conn, fault);
    if (err != OK) {
        conn_destroy(conn);
        return err;
    }
    *out = conn;
    return OK;
}

static void conn_give(struct shelf_sqlite *s, struct shelf_conn *conn) {
    if (!conn || conn == &s->writer)
        return;
    pthread_mutex_lock(&s->pool_lock);
    bool keep = s->idle_count < IDLE_READERS_MAX;
    if (keep) {
        conn->next = s->idle;
        s->idle = conn;
        s->idle_count++;
    }
    pthread_mutex_unlock(&s->pool_lock);
    if (!keep)
        conn_destroy(conn);
}

void pool_drain(struct shelf_sqlite *s) {
    while (s->idle) {
        struct shelf_conn *conn = s->idle;
        s->idle = conn->next;
        s->idle_count--;
        conn_destroy(conn);
    }
}

/* --- one entity ---------------------------------------------------------------------------- */

bool shelf_sqlite_maybe(struct shelf *shelf, uint32_t space, struct hash128 key) {
    struct shelf_sqlite *s = (struct shelf_sqlite *)shelf;
    if (!s->spaces[space].sparse)
        return true;
    bool maybe = false;
    pthread_rwlock_rdlock(&s->views);
    const struct shelf_view *view = s->spaces[space].view;
    /* The blocks come from memory side by side, not one after the other. */
    for (uint32_t i = 0; i < view->count; i++)
        __builtin_prefetch(filter_block(&view->runs[i]->filter, key));
    for (uint32_t i = 0; i < view->count && !maybe; i++)
        maybe = filter_test(&view->runs[i]->filter, key);
    pthread_rwlock_unlock(&s->views);
    return maybe;
}

/* The only chunk of the run that can hold key; false: none. */
static bool run_chunk(const struct shelf_run *run, struct hash128 key, uint32_t *chunk) {
    uint32_t low = 0, high = run->chunks; /* the first chunk that begins after key */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (key_cmp(run->firsts[middle], key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    *chunk = low - 1;
    return low > 0;
}

/* *found: the run says something of key; *value absent: that it is gone. */
static enum err run_get(struct shelf_conn *conn, const struct shelf_run *run, struct hash128 key,
                        struct arena *arena, struct str *value, bool *found,
                        struct fault *fault) {
    uint32_t at, len;
    struct shelf_chunk chunk;
    const char *bytes;
    if (!run_chunk(run, key, &at))
        return OK;
    enum err err = chunk_load(conn, run, at, &conn->bytes, &conn->cap, &chunk, fault);
    if (err != OK || !chunk_find(&chunk, key, &len, &bytes))
        return err;
    *found = true;
    if (len == SHELF_GONE)
        return OK;
    char *copy = arena_bytes(arena, len + 1);
    if (!copy)
        return fault_set(fault, ERR_NOMEM, "no memory for an entity of %u bytes", len);
    memcpy(copy, bytes, len);
    copy[len] = '\0';
    *value = str_of(copy, len);
    return OK;
}

enum err shelf_sqlite_get(struct shelf *shelf, uint32_t space, struct hash128 key,
                          struct arena *arena, struct str *value, struct fault *fault) {
    struct shelf_sqlite *s = (struct shelf_sqlite *)shelf;
    struct shelf_conn *conn = NULL;
    enum err err = OK;
    bool found = false;
    *value = STR_NONE;
    pthread_rwlock_rdlock(&s->life);
    struct shelf_view *view = view_hold(s, space);
    for (uint32_t i = 0; err == OK && !found && i < view->count; i++) {
        if (!filter_test(&view->runs[i]->filter, key))
            continue;
        if (!conn)
            err = conn_take(s, &conn, fault);
        if (err == OK)
            err = run_get(conn, view->runs[i], key, arena, value, &found, fault);
    }
    if (value_expired(&s->spaces[space], *value, atomic_load(&s->forget_us)))
        *value = STR_NONE;
    view_release(s, view);
    conn_give(s, conn);
    pthread_rwlock_unlock(&s->life);
    return err;
}

/* --- all of a space ------------------------------------------------------------------------ */

enum err shelf_sqlite_each(struct shelf *shelf, uint32_t space, shelf_visit *visit, void *ctx,
                           struct fault *fault) {
    struct shelf_sqlite *s = (struct shelf_sqlite *)shelf;
    struct shelf_conn *conn = NULL;
    struct shelf_merger merger = {0};
    bool go_on = true;
    uint64_t read = 0;
    pthread_rwlock_rdlock(&s->life);
    int64_t forget_us = atomic_load(&s->forget_us);
    struct shelf_view *view = view_hold(s, space);
    enum err err = conn_take(s, &conn, fault);
    if (err == OK)
        err = merger_make(&merger, conn, view->runs, view->count, fault);
    while (err == OK && go_on && !merger_done(&merger)) {
        struct str value;
        struct hash128 key = merger_entry(&merger, &value);
        if (value.ptr && !value_expired(&s->spaces[space], value, forget_us))
            go_on = visit(ctx, key, value);
        if (go_on)
            err = merger_next(&merger, &read, fault);
    }
    merger_free(&merger);
    view_release(s, view);
    conn_give(s, conn);
    pthread_rwlock_unlock(&s->life);
    return err;
}
