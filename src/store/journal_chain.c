/* journal_chain: which segments there are, in memory and in chain.db.
 *
 * chain.db holds one row for each segment that is sealed: its number, seqs, times, length and
 * SHA-256, the SHA-256 of the one before, and where it is now. The same facts about a segment
 * are in the meta table of its successor, so each segment's hash covers the hash of all before
 * it; chain.db saves opening them all, and remembers those that were archived or removed. A
 * segment without a row is live, closed, or made beforehand, which its file and those beside it
 * tell.
 *
 * Always true: the table's numbers and seqs have no gap; a row in chain.db is written after its
 * segment's last byte is durable, and before the segment's successor may be left. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "store/journal_archive.h"
#include "store/journal_sqlite_priv.h"

const char *segment_state_name(enum segment_state state) {
    static const char *const names[] = {"live", "closed", "sealed", "archived", "removed"};
    return names[state];
}

/* --- the table ---------------------------------------------------------------------------- */

static enum err table_reserve(struct journal_sqlite *j, uint32_t more, struct fault *fault) {
    if (j->segment_cap - j->segment_count >= more)
        return OK;
    uint32_t cap = 2 * j->segment_cap + more;
    struct segment *segments = mem_resize(j->segments, cap * sizeof *segments);
    if (!segments)
        return fault_set(fault, ERR_NOMEM, "no memory for the table of journal segments");
    j->segments = segments;
    j->segment_cap = cap;
    return OK;
}

enum err chain_reserve(struct journal_sqlite *j, struct fault *fault) {
    pthread_mutex_lock(&j->pool_lock);
    enum err err = table_reserve(j, 1, fault);
    pthread_mutex_unlock(&j->pool_lock);
    return err;
}

/* Behind the last one; both the same where a damaged journal would have a gap. */
static enum err table_add(struct journal_sqlite *j, const struct segment *segment,
                          struct fault *fault) {
    pthread_mutex_lock(&j->pool_lock);
    enum err err = table_reserve(j, 1, fault);
    const struct segment *before =
        j->segment_count > 0 ? &j->segments[j->segment_count - 1] : NULL;
    if (err == OK && before && segment->first != before->last + 1)
        err = fault_set(fault, ERR_DAMAGED,
                        "records %llu to %llu are missing: journal segment %llu ends before them, "
                        "segment %llu begins behind them",
                        (unsigned long long)before->last + 1,
                        (unsigned long long)segment->first - 1,
                        (unsigned long long)before->number, (unsigned long long)segment->number);
    if (err == OK)
        j->segments[j->segment_count++] = *segment;
    pthread_mutex_unlock(&j->pool_lock);
    return err;
}

void chain_switch(struct journal_sqlite *j, uint64_t last) {
    pthread_mutex_lock(&j->pool_lock);
    must(j->segment_count > 0 && j->segment_count < j->segment_cap);
    struct segment *live = &j->segments[j->segment_count - 1];
    must(live->state == SEGMENT_LIVE);
    live->state = SEGMENT_CLOSED;
    live->last = last;
    j->segments[j->segment_count++] = (struct segment){
        .number = live->number + 1, .first = last + 1, .last = UINT64_MAX, .state = SEGMENT_LIVE};
    pthread_mutex_unlock(&j->pool_lock);
}

enum err chain_find(struct journal_sqlite *j, uint64_t seq, struct segment *out,
                    struct fault *fault) {
    pthread_mutex_lock(&j->pool_lock);
    uint32_t low = 0, high = j->segment_count;
    while (low + 1 < high) {
        uint32_t middle = low + (high - low) / 2;
        if (j->segments[middle].first <= seq)
            low = middle;
        else
            high = middle;
    }
    *out = j->segments[low];
    pthread_mutex_unlock(&j->pool_lock);
    if (out->state == SEGMENT_REMOVED)
        return fault_set(fault, ERR_NOT_FOUND,
                         "records %llu to %llu are no longer kept (journal segment %llu was "
                         "removed by retention)",
                         (unsigned long long)out->first, (unsigned long long)out->last,
                         (unsigned long long)out->number);
    return OK;
}

bool chain_is_live(struct journal_sqlite *j, uint64_t number) {
    pthread_mutex_lock(&j->pool_lock);
    bool live = j->segments[j->segment_count - 1].number == number;
    pthread_mutex_unlock(&j->pool_lock);
    return live;
}

bool chain_closed(struct journal_sqlite *j, struct segment *out) {
    bool found = false;
    pthread_mutex_lock(&j->pool_lock);
    for (uint32_t i = j->segment_count; i-- > 0 && j->segments[i].state <= SEGMENT_CLOSED;)
        if (j->segments[i].state == SEGMENT_CLOSED) {
            *out = j->segments[i];
            found = true;
        }
    pthread_mutex_unlock(&j->pool_lock);
    return found;
}

uint32_t journal_sqlite_segment_count(struct journal *journal) {
    struct journal_sqlite *j = journal_of(journal);
    pthread_mutex_lock(&j->pool_lock);
    uint32_t count = j->segment_count;
    pthread_mutex_unlock(&j->pool_lock);
    return count;
}

bool journal_sqlite_segment(struct journal *journal, uint32_t i, struct segment *out) {
    struct journal_sqlite *j = journal_of(journal);
    pthread_mutex_lock(&j->pool_lock);
    bool there = i < j->segment_count;
    if (there)
        *out = j->segments[i];
    pthread_mutex_unlock(&j->pool_lock);
    return there;
}

/* --- chain.db ----------------------------------------------------------------------------- */

static void chain_path(const struct journal_sqlite *j, char out[PATH_BYTES]) {
    must(snprintf(out, PATH_BYTES, "%schain.db", j->prefix) < PATH_BYTES);
}

/* With chain_lock. NULL where there is none yet and it is not to be made. */
static enum err chain_open(struct journal_sqlite *j, bool create, struct fault *fault) {
    char path[PATH_BYTES];
    chain_path(j, path);
    if (j->chain || (!create && !file_exists(j, path)))
        return OK;
    struct db_options options = {
        .vfs = j->vfs[0] ? j->vfs : NULL,
        .create = !j->read_only,
        .read_only = j->read_only && !j->maintain,
        .exclusive = j->exclusive,
        .application_id = CHAIN_APPLICATION_ID,
        .user_version = 1,
    };
    enum err err = db_open(path, &options, &j->chain, fault);
    if (err == OK && !j->read_only)
        err = db_exec(j->chain,
                      "BEGIN IMMEDIATE;"
                      "CREATE TABLE IF NOT EXISTS segment(number INTEGER PRIMARY KEY,"
                      " first INTEGER NOT NULL, last INTEGER NOT NULL,"
                      " first_time_us INTEGER NOT NULL, last_time_us INTEGER NOT NULL,"
                      " bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, before TEXT NOT NULL,"
                      " sealed_us INTEGER NOT NULL, state TEXT NOT NULL, archive TEXT,"
                      " archive_bytes INTEGER);"
                      "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY,"
                      " value TEXT NOT NULL) WITHOUT ROWID;"
                      "COMMIT",
                      fault);
    int64_t tables = 2;
    if (err == OK && j->read_only)
        err = db_i64(j->chain, "SELECT count(*) FROM sqlite_schema WHERE type='table'", 0, &tables,
                     fault);
    if (err == OK && create && j->folder[0])
        err = db_folder_sync(j->folder, fault);
    bool unmade = j->read_only && (err == ERR_NOT_FOUND || (err == OK && tables == 0));
    if (err != OK || unmade) /* the program that writes is just making it */
        chain_close(j);
    return unmade ? OK : err;
}

void chain_close(struct journal_sqlite *j) {
    if (j->chain && !sqlite3_get_autocommit(j->chain))
        (void)sqlite3_exec(j->chain, "ROLLBACK", NULL, NULL, NULL);
    db_close(j->chain);
    j->chain = NULL;
}

static void hash_copy(char out[SEGMENT_HASH_TEXT], struct str text) {
    size_t len = text.len < SEGMENT_HASH_TEXT ? text.len : SEGMENT_HASH_TEXT - 1;
    if (len > 0)
        memcpy(out, text.ptr, len);
    out[len] = '\0';
}

static void row_take(sqlite3_stmt *stmt, struct segment *out) {
    struct str state = db_column_str(stmt, 8);
    *out = (struct segment){
        .number = (uint64_t)sqlite3_column_int64(stmt, 0),
        .first = (uint64_t)sqlite3_column_int64(stmt, 1),
        .last = (uint64_t)sqlite3_column_int64(stmt, 2),
        .first_time_us = sqlite3_column_int64(stmt, 3),
        .last_time_us = sqlite3_column_int64(stmt, 4),
        .bytes = (uint64_t)sqlite3_column_int64(stmt, 5),
        .state = str_is(state, "archived")  ? SEGMENT_ARCHIVED
                 : str_is(state, "removed") ? SEGMENT_REMOVED
                                            : SEGMENT_SEALED,
    };
    hash_copy(out->sha256, db_column_str(stmt, 6));
    hash_copy(out->before, db_column_str(stmt, 7));
}

/* Calls take for each row, in order, until it answers an error. With chain_lock. */
static enum err rows_each(struct journal_sqlite *j,
                          enum err (*take)(struct journal_sqlite *j, const struct segment *segment,
                                           struct fault *fault),
                          struct fault *fault) {
    sqlite3_stmt *stmt;
    enum err err = db_prepare(j->chain,
                              "SELECT number, first, last, first_time_us, last_time_us, bytes,"
                              " sha256, before, state FROM segment ORDER BY number",
                              &stmt, fault);
    int rc = SQLITE_DONE;
    while (err == OK && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct segment segment;
        row_take(stmt, &segment);
        err = take(j, &segment, fault);
    }
    if (err == OK && rc != SQLITE_DONE)
        err = db_fault(j->chain, "read the list of journal segments", fault);
    sqlite3_finalize(stmt);
    return err;
}

/* A row read again: the state may be another, and what was closed is sealed. */
static enum err table_renew(struct journal_sqlite *j, const struct segment *row,
                            struct fault *fault) {
    (void)fault;
    pthread_mutex_lock(&j->pool_lock);
    uint64_t at = row->number - j->segments[0].number;
    if (row->number >= j->segments[0].number && at < j->segment_count &&
        j->segments[at].state != SEGMENT_LIVE)
        j->segments[at] = *row;
    pthread_mutex_unlock(&j->pool_lock);
    return OK;
}

enum err chain_refresh(struct journal_sqlite *j, struct fault *fault) {
    pthread_mutex_lock(&j->chain_lock);
    enum err err = chain_open(j, false, fault);
    if (err == OK && j->chain)
        err = rows_each(j, table_renew, fault);
    pthread_mutex_unlock(&j->chain_lock);
    return err;
}

enum err chain_add(struct journal_sqlite *j, const struct segment *segment, struct fault *fault) {
    sqlite3_stmt *stmt = NULL;
    pthread_mutex_lock(&j->chain_lock);
    enum err err = chain_open(j, true, fault);
    if (err == OK)
        err = db_prepare(j->chain,
                         "INSERT OR REPLACE INTO segment(number, first, last, first_time_us,"
                         " last_time_us, bytes, sha256, before, sealed_us, state)"
                         " VALUES(?,?,?,?,?,?,?,?,?,'sealed')",
                         &stmt, fault);
    if (err == OK) {
        int64_t values[] = {(int64_t)segment->number, (int64_t)segment->first,
                            (int64_t)segment->last,   segment->first_time_us,
                            segment->last_time_us,    (int64_t)segment->bytes};
        for (int i = 0; i < 6; i++)
            sqlite3_bind_int64(stmt, i + 1, values[i]);
        db_bind_str(stmt, 7, str_c(segment->sha256));
        db_bind_str(stmt, 8, str_c(segment->before));
        sqlite3_bind_int64(stmt, 9, clock_now_us(j->clock));
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    /* It has no pause between two rows to speak of: its WAL is copied at once. */
    if (err == OK)
        (void)sqlite3_wal_checkpoint_v2(j->chain, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    pthread_mutex_unlock(&j->chain_lock);
    return err == OK ? table_renew(j, segment, fault) : err;
}

enum err chain_place(struct journal_sqlite *j, uint64_t number, enum segment_state state,
                     const char *archive, uint64_t archive_bytes, struct fault *fault) {
    sqlite3_stmt *stmt = NULL;
    pthread_mutex_lock(&j->chain_lock);
    enum err err = chain_open(j, false, fault);
    if (err == OK && !j->chain)
        err = fault_set(fault, ERR_INTERNAL, "no journal segment is sealed");
    if (err == OK)
        err = db_prepare(j->chain,
                         "UPDATE segment SET state=?, archive=?, archive_bytes=? WHERE number=?",
                         &stmt, fault);
    if (err == OK) {
        db_bind_str(stmt, 1, str_c(segment_state_name(state)));
        db_bind_str(stmt, 2, archive ? str_c(archive) : STR_NONE);
        if (archive)
            sqlite3_bind_int64(stmt, 3, (int64_t)archive_bytes);
        sqlite3_bind_int64(stmt, 4, (int64_t)number);
        err = db_run(stmt, fault);
    }
    sqlite3_finalize(stmt);
    pthread_mutex_unlock(&j->chain_lock);
    return err == OK ? chain_refresh(j, fault) : err;
}

enum err journal_archive_place(struct journal *journal, uint64_t number, char *path, size_t size,
                               uint64_t *bytes, struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    sqlite3_stmt *stmt = NULL;
    path[0] = '\0';
    *bytes = 0;
    pthread_mutex_lock(&j->chain_lock);
    enum err err = chain_open(j, false, fault);
    if (err == OK && j->chain)
        err = db_prepare(j->chain, "SELECT archive, archive_bytes FROM segment WHERE number=?",
                         &stmt, fault);
    if (err == OK && stmt) {
        sqlite3_bind_int64(stmt, 1, (int64_t)number);
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW) {
            snprintf(path, size, "%.*s", STR_FMT(db_column_str(stmt, 0)));
            *bytes = (uint64_t)sqlite3_column_int64(stmt, 1);
        } else if (rc != SQLITE_DONE) {
            err = db_fault(j->chain, "look where a journal segment is archived", fault);
        }
    }
    sqlite3_finalize(stmt);
    pthread_mutex_unlock(&j->chain_lock);
    return err;
}

/* --- the floor ----------------------------------------------------------------------------- */

void journal_sqlite_floor(struct journal *journal, uint64_t seq) {
    struct journal_sqlite *j = journal_of(journal);
    uint64_t floor = atomic_load(&j->floor);
    while (seq > floor && !atomic_compare_exchange_weak(&j->floor, &floor, seq))
        continue;
}

enum err journal_floor_read(struct journal *journal, uint64_t *seq, struct fault *fault) {
    struct journal_sqlite *j = journal_of(journal);
    int64_t floor = 0;
    pthread_mutex_lock(&j->chain_lock);
    enum err err = chain_open(j, false, fault);
    if (err == OK && j->chain)
        err = db_i64(j->chain, "SELECT CAST(value AS INTEGER) FROM meta WHERE name='floor'", 0,
                     &floor, fault);
    pthread_mutex_unlock(&j->chain_lock);
    *seq = (uint64_t)floor;
    return err;
}

/* Within one segment it makes no difference where the floor is. */
static bool floor_is_news(struct journal_sqlite *j, uint64_t floor) {
    struct segment segment, written;
    struct fault removed = {0}; /* a segment that is gone is below any floor */
    if (j->floor_written == 0)
        return floor > 0;
    return floor > j->floor_written &&
           (chain_find(j, floor, &segment, &removed) != OK ||
            chain_find(j, j->floor_written, &written, &removed) != OK ||
            segment.number != written.number);
}

enum err chain_floor(struct journal_sqlite *j, struct fault *fault) {
    uint64_t floor = atomic_load(&j->floor);
    enum err err = OK;
    if (!floor_is_news(j, floor))
        return OK;
    char sql[128];
    snprintf(sql, sizeof sql, "INSERT OR REPLACE INTO meta VALUES('floor', '%llu')",
             (unsigned long long)floor);
    pthread_mutex_lock(&j->chain_lock);
    bool there = j->chain != NULL; /* else nothing is sealed, and nothing to be removed */
    if (there)
        err = db_exec(j->chain, sql, fault);
    pthread_mutex_unlock(&j->chain_lock);
    if (err == OK && there)
        j->floor_written = floor;
    return err;
}

/* --- which segments there are ------------------------------------------------------------- */

/* What a file beside the known ones is: its seqs, 0 and 0 where it is empty. */
static enum err file_range(struct journal_sqlite *j, uint64_t number, uint64_t *first,
                           uint64_t *last, struct fault *fault) {
    sqlite3 *db;
    enum err err = segment_connect(j, number, false, &db, fault);
    if (err != OK)
        return err;
    err = cell_check(db, j->cell[0] ? str_c(j->cell) : STR_NONE, fault);
    if (err == OK)
        err = segment_range(db, first, last, fault);
    db_close(db);
    return err;
}

static bool number_exists(const struct journal_sqlite *j, uint64_t number) {
    char path[PATH_BYTES];
    segment_path(j, number, path);
    return file_exists(j, path);
}

/* The table's last row becomes closed if `number` has records; then that is the last row. A
 * file without records, or not made to its end, is the one made beforehand. */
static enum err file_take(struct journal_sqlite *j, uint64_t number, bool *found,
                          struct fault *fault) {
    uint64_t first, last, ended;
    struct fault unmade = {0};
    *found = false;
    enum err err = number_exists(j, number) ? file_range(j, number, &first, &last, &unmade) : ERR_NOT_FOUND;
    /* What can not be read now may hold records: nobody may append behind the one before it. */
    if ((err == ERR_IO && !db_fault_damaged()) || err == ERR_NOMEM || err == ERR_UNAVAILABLE)
        return fault_set(fault, err, "%s", unmade.detail);
    if (err != OK || first == 0)
        return OK; /* not made to its end; where it is something else, who writes will say so */
    *found = true;
    pthread_mutex_lock(&j->pool_lock);
    struct segment live = j->segments[j->segment_count - 1];
    pthread_mutex_unlock(&j->pool_lock);
    err = file_range(j, live.number, &live.first, &ended, fault);
    if (err == OK && ended + 1 != first)
        err = fault_set(fault, ERR_DAMAGED,
                        "journal segment %llu ends at record %llu, segment %llu begins at %llu",
                        (unsigned long long)live.number, (unsigned long long)ended,
                        (unsigned long long)number, (unsigned long long)first);
    if (err == OK)
        err = chain_reserve(j, fault);
    if (err == OK)
        chain_switch(j, ended);
    return err;
}

enum err chain_follow(struct journal_sqlite *j, bool *found, struct fault *fault) {
    pthread_mutex_lock(&j->pool_lock);
    uint64_t number = j->segments[j->segment_count - 1].number + 1;
    pthread_mutex_unlock(&j->pool_lock);
    enum err err = file_take(j, number, found, fault);
    return err == OK && *found ? chain_refresh(j, fault) : err;
}

/* A journal is begun only where there is none: without chain.db it is not known what became of
 * segments before the files that are there. */
static enum err begin_check(const struct journal_sqlite *j, struct fault *fault) {
    DIR *dir = j->folder[0] ? opendir(j->folder) : NULL;
    enum err err = OK;
    for (const struct dirent *entry; dir && err == OK && (entry = readdir(dir));) {
        size_t digits = strspn(entry->d_name, "0123456789");
        if (digits >= 8 && str_starts(str_c(entry->d_name + digits), STR(".db")))
            err = fault_set(fault, ERR_DAMAGED,
                            "there is %.40s in %.120s, but neither segment 1 nor a chain.db that "
                            "knows it: put back chain.db from a backup",
                            entry->d_name, j->folder);
    }
    if (dir)
        closedir(dir);
    return err;
}

enum err chain_load(struct journal_sqlite *j, struct fault *fault) {
    pthread_mutex_lock(&j->chain_lock);
    enum err err = chain_open(j, false, fault);
    if (err == OK && j->chain)
        err = rows_each(j, table_add, fault);
    pthread_mutex_unlock(&j->chain_lock);
    if (err != OK)
        return err;
    struct segment live = {.number = 1, .first = 1, .last = UINT64_MAX, .state = SEGMENT_LIVE};
    uint64_t first = 0, last = 0;
    bool sealed = j->segment_count > 0, found = true;
    if (sealed) {
        live.number = j->segments[j->segment_count - 1].number + 1;
        live.first = j->segments[j->segment_count - 1].last + 1;
    }
    if (number_exists(j, live.number))
        err = file_range(j, live.number, &first, &last, fault);
    else if (!sealed)
        err = begin_check(j, fault);
    if (err != OK && err != ERR_DAMAGED && !sealed && !j->read_only)
        err = OK; /* perhaps it was not made to its end: who opens it to write mends it, or says why not */
    /* Nothing is sealed before its successor has a record. */
    if (err == OK && sealed && first == 0)
        err = fault_set(fault, ERR_DAMAGED,
                        "journal segment %llu is missing or empty: records from %llu on are gone",
                        (unsigned long long)live.number, (unsigned long long)live.first);
    if (err == OK && first != 0)
        live.first = first;
    if (err == OK)
        err = table_add(j, &live, fault);
    while (err == OK && found)
        err = chain_follow(j, &found, fault);
    return err;
}
