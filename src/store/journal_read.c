/* journal_read: reading the journal, over all its segments: connections in a pool, records in
 * chunks, each with its checksum. See journal_sqlite.h.
 *
 * A segment that is closed and not yet sealed can only be sealed when nobody has it open: to
 * such a one a connection lasts for one chunk. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/planted.h"
#include "store/journal_sqlite_priv.h"

#define IDLE_READERS_MAX 16
#define READ_CHUNK_BYTES (1u << 20)

/* --- connections ------------------------------------------------------------------------ */

static void conn_destroy(struct journal_conn *conn) {
    if (!conn)
        return;
    sqlite3_finalize(conn->select);
    if (conn->owned)
        db_close(conn->db);
    mem_free(conn->bytes);
    mem_free(conn);
}

/* Where the journal is exclusive, a segment that is not sealed has one connection for all. */
static sqlite3 *conn_shared(struct journal_sqlite *j, uint64_t number) {
    return !j->exclusive              ? NULL
           : j->live.number == number ? j->live.db
           : j->old.number == number  ? j->old.db
                                      : NULL;
}

static enum err conn_open(struct journal_sqlite *j, struct segment *segment,
                          struct journal_conn *conn, struct fault *fault) {
    enum err err = OK;
    conn->number = segment->number;
    conn->db = conn_shared(j, segment->number);
    if (!conn->db) {
        err = segment_reach(j, segment, &conn->db, fault);
        conn->owned = err == OK;
        conn->immutable = segment->state >= SEGMENT_SEALED;
    }
    if (err == OK)
        err = db_prepare(conn->db,
                         "SELECT seq, time, type, subject, meta, data, sum FROM event"
                         " WHERE seq >= ? ORDER BY seq LIMIT ?",
                         &conn->select, fault);
    return err;
}

static struct journal_conn *idle_take(struct journal_sqlite *j, uint64_t number) {
    pthread_mutex_lock(&j->pool_lock);
    struct journal_conn **at = &j->idle;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    struct journal_conn *conn = *at;
    if (conn) {
        *at = conn->next;
        j->idle_count--;
    }
    pthread_mutex_unlock(&j->pool_lock);
    return conn;
}

static enum err conn_take(struct journal_sqlite *j, struct segment *segment,
                          struct journal_conn **out, struct fault *fault) {
    *out = idle_take(j, segment->number);
    if (*out)
        return OK;
    struct journal_conn *conn = mem_zalloc(sizeof *conn);
    if (!conn)
        return fault_set(fault, ERR_NOMEM, "no memory to read the journal");
    enum err err = conn_open(j, segment, conn, fault);
    if (err == OK)
        *out = conn;
    else
        conn_destroy(conn);
    return err;
}

/* Back into the pool; the one not used for longest gives way. */
static void conn_give(struct journal_sqlite *j, struct journal_conn *conn) {
    if (!conn)
        return;
    struct journal_conn *gone = NULL;
    pthread_mutex_lock(&j->pool_lock);
    conn->next = j->idle;
    j->idle = conn;
    if (++j->idle_count > IDLE_READERS_MAX) {
        struct journal_conn **at = &j->idle;
        while ((*at)->next)
            at = &(*at)->next;
        gone = *at;
        *at = NULL;
        j->idle_count--;
    }
    pthread_mutex_unlock(&j->pool_lock);
    conn_destroy(gone);
}

void pool_drop(struct journal_sqlite *j, uint64_t number) {
    struct journal_conn *gone = NULL;
    pthread_mutex_lock(&j->pool_lock);
    for (struct journal_conn **at = &j->idle; *at;) {
        struct journal_conn *conn = *at;
        if (number && conn->number != number) {
            at = &conn->next;
            continue;
        }
        *at = conn->next;
        conn->next = gone;
        gone = conn;
        j->idle_count--;
    }
    pthread_mutex_unlock(&j->pool_lock);
    while (gone) {
        struct journal_conn *conn = gone;
        gone = conn->next;
        conn_destroy(conn);
    }
}

/* Whether the segment has to be let go of as soon as its rows are copied: it is about to be
 * sealed, by us or by the program that writes. */
static bool conn_is_brief(struct journal_sqlite *j, const struct journal_conn *conn) {
    return conn->owned && !conn->immutable && (j->read_only || !chain_is_live(j, conn->number));
}
static void conn_release(struct journal_conn *conn) {
    sqlite3_finalize(conn->select);
    db_close(conn->db);
    conn->select = NULL;
    conn->db = NULL;
    conn->owned = false;
}

/* --- rows -------------------------------------------------------------------------------- */

uint64_t journal_record_sum(const struct record *record) {
    uint64_t sum = hash64(record->type, record->seq);
    sum = hash64(record->subject, sum ^ (uint64_t)record->time_us);
    sum = hash64(record->meta, sum);
    return hash64(record->data, sum);
}

/* Room for `more` bytes in the chunk. Pointers into it are made when it is complete. */
static bool chunk_reserve(struct journal_conn *conn, size_t more) {
    if (conn->cap - conn->len >= more)
        return true;
    size_t cap = conn->cap ? conn->cap : 65536;
    while (cap - conn->len < more)
        cap *= 2;
    char *bytes = mem_resize(conn->bytes, cap);
    if (!bytes)
        return false;
    conn->bytes = bytes;
    conn->cap = cap;
    return true;
}

/* Copies one row's texts; the records hold offsets until chunk_finish. */
static bool chunk_add(struct journal_conn *conn, struct record *record) {
    struct str *texts[] = {&record->type, &record->subject, &record->meta, &record->data};
    record->seq = (uint64_t)sqlite3_column_int64(conn->select, 0);
    record->time_us = sqlite3_column_int64(conn->select, 1);
    for (int i = 0; i < 4; i++) {
        struct str text = db_column_str(conn->select, 2 + i);
        if (!chunk_reserve(conn, text.len + 1))
            return false;
        memcpy(conn->bytes + conn->len, text.ptr ? text.ptr : "", text.len);
        conn->bytes[conn->len + text.len] = '\0';
        texts[i]->len = text.len;
        conn->len += text.len + 1;
    }
    return true;
}

static void chunk_finish(struct journal_conn *conn, struct record *records, uint32_t n) {
    const char *at = conn->bytes;
    for (uint32_t i = 0; i < n; i++) {
        struct str *texts[] = {&records[i].type, &records[i].subject, &records[i].meta,
                               &records[i].data};
        for (int k = 0; k < 4; k++) {
            texts[k]->ptr = at;
            at += texts[k]->len + 1;
        }
    }
}

/* Reads up to `want` rows into the connection's chunk and ends the read transaction: whoever
 * visits them may take its time without keeping the WAL from being copied. */
static enum err chunk_read(struct journal_sqlite *j, struct journal_conn *conn, uint64_t from,
                           uint32_t want, uint32_t *n, struct fault *fault) {
    *n = 0;
    conn->len = 0;
    if (j->exclusive)
        pthread_mutex_lock(&j->gate);
    sqlite3_bind_int64(conn->select, 1, (int64_t)from);
    sqlite3_bind_int64(conn->select, 2, want);
    enum err err = OK;
    while (*n < want && conn->len < READ_CHUNK_BYTES) {
        int rc = sqlite3_step(conn->select);
        if (rc == SQLITE_DONE)
            break;
        if (db_is_damage(rc)) { /* first those before it: the fault is then the next one's */
            if (*n == 0)
                err = fault_set(fault, ERR_IO,
                                "record %llu of the journal can not be read: the file is damaged "
                                "(segment %08llu.db: %.100s)",
                                (unsigned long long)from, (unsigned long long)conn->number,
                                sqlite3_errmsg(conn->db));
            break;
        }
        if (rc != SQLITE_ROW) {
            err = db_fault(conn->db, "read the journal", fault);
            break;
        }
        if (!chunk_add(conn, &conn->records[*n])) {
            err = fault_set(fault, ERR_NOMEM, "no memory to read the journal");
            break;
        }
        conn->sums[*n] = (uint64_t)sqlite3_column_int64(conn->select, 6);
        ++*n;
    }
    sqlite3_reset(conn->select);
    if (j->exclusive)
        pthread_mutex_unlock(&j->gate);
    chunk_finish(conn, conn->records, *n);
    return err;
}

/* A page that went bad may make SQLite skip what it held, as if it had never been. *next: the last
 * that is missing, so that the caller may go on behind it. */
static enum err hole_tell(uint64_t first, uint64_t found, uint64_t *next, struct fault *fault) {
    *next = found - 1;
    return fault_set(fault, ERR_DAMAGED,
                     "records %llu to %llu are missing: the journal's file is damaged",
                     (unsigned long long)first, (unsigned long long)*next);
}

/* How many of the records, from *next on, are there and whole; not even that one: ERR_DAMAGED.
 * Those before a damaged one are still given out. */
static enum err chunk_check(const struct journal_conn *conn, uint64_t oldest, uint64_t *next,
                            uint32_t *n, struct fault *fault) {
    uint64_t first = *next > oldest ? *next : oldest;
    for (uint32_t i = 0; i < *n; i++) {
        if (conn->records[i].seq != first + i) {
            *n = i;
            return i > 0 ? OK : hole_tell(first, conn->records[0].seq, next, fault);
        }
        if (journal_record_sum(&conn->records[i]) == conn->sums[i])
            continue;
        uint64_t seq = conn->records[i].seq;
        *n = i;
        return i > 0 ? OK
                     : fault_set(fault, ERR_DAMAGED,
                                 "record %llu of the journal does not match its checksum: it was "
                                 "changed on disk",
                                 (unsigned long long)seq);
    }
    return OK;
}

/* What an empty chunk at *next means: the journal's end; a hole at the segment's end, which is
 * told once; or that a switch came in between, and the next segment has it. */
static enum err segment_ended(struct journal_sqlite *j, const struct segment *segment,
                              uint64_t *next, bool *end, struct fault *fault) {
    if (segment->state != SEGMENT_LIVE) {
        uint64_t missing = *next;
        *next = segment->last;
        return fault_set(fault, ERR_DAMAGED,
                         "records %llu to %llu are missing at the end of journal segment %llu",
                         (unsigned long long)missing, (unsigned long long)segment->last,
                         (unsigned long long)segment->number);
    }
    bool more = !chain_is_live(j, segment->number);
    enum err err = j->read_only && !more ? chain_follow(j, &more, fault) : OK;
    *end = !more;
    return err;
}

/* One chunk of one segment. */
static enum err part_read(struct journal_sqlite *j, uint64_t *next, uint32_t limit,
                          struct journal_conn **conn, uint32_t *n, struct segment *segment,
                          struct fault *fault) {
    enum err err = chain_find(j, *next, segment, fault);
    if (err == OK && *conn && (*conn)->number != segment->number) {
        conn_give(j, *conn);
        *conn = NULL;
    }
    if (err == OK && !*conn)
        err = conn_take(j, segment, conn, fault);
    if (err == OK && !(*conn)->db)
        err = conn_open(j, segment, *conn, fault);
    if (err == OK)
        err = chunk_read(j, *conn, *next, limit < READ_CHUNK_RECORDS ? limit : READ_CHUNK_RECORDS,
                         n, fault);
    if (*conn && conn_is_brief(j, *conn))
        conn_release(*conn);
    if (err == OK)
        err = chunk_check(*conn, segment->first, next, n, fault);
    if (PLANTED(REPLAY_ORDER) && err == OK && *n > 1) {
        struct record *last = &(*conn)->records[*n - 1], one = *last;
        *last = last[-1];
        last[-1] = one;
        last[-1].seq = last->seq;
        last->seq = one.seq;
    }
    return err;
}

enum err journal_sqlite_read(struct journal *journal, uint64_t from, uint32_t limit,
                             journal_visit *visit, void *ctx, uint64_t *next,
                             struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    struct journal_conn *conn = NULL;
    struct segment segment;
    enum err err = OK;
    bool go_on = true, end = false;
    *next = from ? from : 1;
    while (limit > 0 && go_on && !end) {
        uint32_t n = 0;
        err = part_read(j, next, limit, &conn, &n, &segment, fault);
        if (err == OK && n == 0)
            err = segment_ended(j, &segment, next, &end, fault);
        if (err != OK)
            break;
        for (uint32_t i = 0; i < n && go_on; i++) {
            *next = conn->records[i].seq + 1;
            if (PLANTED(SEGMENT_END) && conn->records[i].seq == segment.last)
                continue;
            go_on = visit(ctx, &conn->records[i]);
        }
        limit -= n;
    }
    if (conn && conn->db && (err == OK || err == ERR_DAMAGED))
        conn_give(j, conn);
    else
        conn_destroy(conn);
    return err;
}

static enum err last_read(struct journal_sqlite *j, uint64_t *seq, struct fault *fault) {
    struct segment live;
    struct journal_conn *conn;
    uint64_t first = 0;
    enum err err = chain_find(j, UINT64_MAX, &live, fault);
    if (err == OK)
        err = conn_take(j, &live, &conn, fault);
    if (err != OK)
        return err;
    if (j->exclusive)
        pthread_mutex_lock(&j->gate);
    err = segment_range(conn->db, &first, seq, fault);
    if (j->exclusive)
        pthread_mutex_unlock(&j->gate);
    if (*seq == 0) /* nothing in it yet */
        *seq = live.first - 1;
    if (j->read_only)
        conn_destroy(conn);
    else
        conn_give(j, conn);
    return err;
}

enum err journal_sqlite_last(struct journal *journal, uint64_t *seq, struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    *seq = atomic_load(&j->last);
    if (!j->read_only && !atomic_load(&j->last_unknown))
        return OK;
    /* Another program writes (read_only), or the last append went wrong: ask the file. */
    bool found = j->read_only;
    enum err err = OK;
    while (found && err == OK)
        err = chain_follow(j, &found, fault);
    return err == OK ? last_read(j, seq, fault) : err;
}
