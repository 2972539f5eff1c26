/* shelf_chunk: see shelf_priv.h. How entries lie in a row, and going through many runs at once.
 *
 * Always true: a chunk is what was written under its id, or chunk_load says that it is not. */
#include "base/mem.h"
#include "store/shelf_priv.h"

#define CHUNK_HEADER 16u
#define CHUNK_SEED UINT64_C(0x7368656c66636831)

static uint64_t chunk_sum(int64_t id, const char *data, size_t len) {
    return hash64(str_of(data + 8, len - 8), CHUNK_SEED ^ (uint64_t)id);
}

static bool bytes_reserve(char **bytes, size_t *cap, size_t want) {
    if (*cap >= want)
        return true;
    size_t cap_new = want + want / 4;
    cap_new = cap_new < SHELF_PAGE_BYTES ? SHELF_PAGE_BYTES : cap_new;
    char *more = mem_resize(*bytes, cap_new);
    if (!more)
        return false;
    *bytes = more;
    *cap = cap_new;
    return true;
}

/* --- reading ----------------------------------------------------------------------------- */

/* Takes the bytes apart; false where they do not fit together. */
static bool chunk_parse(int64_t id, const char *data, size_t len, struct shelf_chunk *out) {
    if (len < CHUNK_HEADER || load64(data) != chunk_sum(id, data, len))
        return false;
    out->count = load32(data + 8);
    out->fixed_len = load32(data + 12);
    if (out->count == 0 || out->count > SHELF_CHUNK_KEYS)
        return false;
    size_t keys = 16 * (size_t)out->count, rest = len - CHUNK_HEADER, values = 0;
    size_t lens = out->fixed_len == SHELF_GONE ? 4 * (size_t)out->count : 0;
    if (rest < keys + lens)
        return false;
    out->keys = data + CHUNK_HEADER;
    out->lens = out->keys + keys;
    out->values = out->lens + lens;
    if (lens == 0)
        values = (size_t)out->count * out->fixed_len;
    for (uint32_t i = 0; lens && i < out->count; i++)
        values += load32(out->lens + 4 * (size_t)i) == SHELF_GONE
                      ? 0 : load32(out->lens + 4 * (size_t)i);
    return rest - keys - lens == values;
}

static enum err chunk_read(struct shelf_conn *conn, int64_t id, char **bytes, size_t *cap,
                           size_t *len, struct fault *fault) {
    sqlite3_bind_int64(conn->chunk, 1, id);
    int rc = sqlite3_step(conn->chunk);
    enum err err = OK;
    *len = 0;
    if (rc == SQLITE_ROW) {
        const void *data = sqlite3_column_blob(conn->chunk, 0);
        *len = data ? (size_t)sqlite3_column_bytes(conn->chunk, 0) : 0;
        if (!bytes_reserve(bytes, cap, *len))
            err = fault_set(fault, ERR_NOMEM, "no memory to read the written state");
        else if (*len > 0)
            memcpy(*bytes, data, *len);
    } else if (rc == SQLITE_DONE) {
        err = fault_set(fault, ERR_DAMAGED, "a part of the written state is missing");
    } else {
        err = shelf_err(conn->db, db_fault(conn->db, "read the written state", fault), fault);
    }
    sqlite3_reset(conn->chunk);
    return err;
}

enum err chunk_load(struct shelf_conn *conn, const struct shelf_run *run, uint32_t chunk,
                    char **bytes, size_t *cap, struct shelf_chunk *out, struct fault *fault) {
    int64_t id = chunk_id(run->id, chunk);
    size_t len;
    enum err err = chunk_read(conn, id, bytes, cap, &len, fault);
    if (err == OK && !chunk_parse(id, *bytes, len, out))
        err = fault_set(fault, ERR_DAMAGED, "a part of the written state was changed on disk");
    return err;
}

bool chunk_find(const struct shelf_chunk *chunk, struct hash128 key, uint32_t *len,
                const char **value) {
    uint32_t low = 0, high = chunk->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (key_cmp(chunk_key(chunk, middle), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == chunk->count || !hash128_eq(chunk_key(chunk, low), key))
        return false;
    *len = chunk_len(chunk, low);
    size_t at = 0;
    if (chunk->fixed_len != SHELF_GONE)
        at = (size_t)low * chunk->fixed_len;
    else
        for (uint32_t i = 0; i < low; i++)
            at += chunk_len(chunk, i) == SHELF_GONE ? 0 : chunk_len(chunk, i);
    *value = chunk->values + at;
    return true;
}

/* --- writing ----------------------------------------------------------------------------- */

void builder_free(struct shelf_builder *b) {
    mem_free(b->values);
    mem_free(b->out);
    b->values = b->out = NULL;
    b->values_cap = b->out_cap = 0;
}

static size_t chunk_put_together(struct shelf_builder *b, int64_t id) {
    uint32_t count = b->count, fixed = b->uniform ? b->uniform_len : SHELF_GONE;
    char *at = b->out + CHUNK_HEADER;
    memcpy(b->out + 8, &count, 4);
    memcpy(b->out + 12, &fixed, 4);
    for (uint32_t i = 0; i < count; i++, at += 16) {
        memcpy(at, &b->keys[i].hi, 8);
        memcpy(at + 8, &b->keys[i].lo, 8);
    }
    if (!b->uniform) {
        memcpy(at, b->lens, 4 * (size_t)count);
        at += 4 * (size_t)count;
    }
    if (b->values_len > 0)
        memcpy(at, b->values, b->values_len);
    size_t len = (size_t)(at - b->out) + b->values_len;
    uint64_t sum = chunk_sum(id, b->out, len);
    memcpy(b->out, &sum, 8);
    return len;
}

enum err builder_flush(struct shelf_builder *b, struct fault *fault) {
    struct shelf_run *run = b->run;
    if (b->count == 0)
        return OK;
    if (run->chunks == SHELF_RUN_CHUNKS_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "a run of the written state is full");
    if (run->chunks == b->firsts_cap) {
        uint32_t cap = b->firsts_cap ? 2 * b->firsts_cap : 4;
        struct hash128 *more = mem_resize(run->firsts, cap * sizeof *more);
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory to write the state down");
        run->firsts = more;
        b->firsts_cap = cap;
    }
    if (!bytes_reserve(&b->out, &b->out_cap, CHUNK_HEADER + 20 * b->count + b->values_len))
        return fault_set(fault, ERR_NOMEM, "no memory to write the state down");
    int64_t id = chunk_id(run->id, run->chunks);
    size_t len = chunk_put_together(b, id);
    sqlite3_bind_int64(b->shelf->chunk_put, 1, id);
    sqlite3_bind_blob64(b->shelf->chunk_put, 2, b->out, len, SQLITE_STATIC);
    enum err err = db_run(b->shelf->chunk_put, fault);
    if (err != OK)
        return err;
    run->firsts[run->chunks++] = b->keys[0];
    run->entries += b->count;
    run->bytes += len;
    b->shelf->written_bytes += len;
    b->count = 0;
    b->values_len = 0;
    return OK;
}

/* Whether one more would make the chunk longer than a page. */
static bool chunk_full(const struct shelf_builder *b, uint32_t len) {
    if (b->count == SHELF_CHUNK_KEYS)
        return true;
    size_t each = b->uniform && len == b->uniform_len ? 16 : 20;
    size_t more = len == SHELF_GONE ? 0 : len;
    return CHUNK_HEADER + each * (b->count + 1) + b->values_len + more > SHELF_CHUNK_BYTES;
}

enum err builder_add(struct shelf_builder *b, struct hash128 key, struct str value,
                     struct fault *fault) {
    uint32_t len = value.ptr ? (uint32_t)value.len : SHELF_GONE;
    enum err err = b->count > 0 && chunk_full(b, len) ? builder_flush(b, fault) : OK;
    if (err != OK)
        return err;
    if (b->count == 0) {
        b->uniform = len != SHELF_GONE;
        b->uniform_len = len;
    }
    b->uniform = b->uniform && len == b->uniform_len;
    if (value.len > 0 && value.ptr) {
        if (!bytes_reserve(&b->values, &b->values_cap, b->values_len + value.len))
            return fault_set(fault, ERR_NOMEM, "no memory to write the state down");
        memcpy(b->values + b->values_len, value.ptr, value.len);
        b->values_len += value.len;
    }
    if (b->shelf->spaces[b->run->space].expires && value.ptr && value.len >= 8 &&
        (int64_t)load64(value.ptr) > b->run->newest_us)
        b->run->newest_us = (int64_t)load64(value.ptr);
    b->keys[b->count] = key;
    b->lens[b->count++] = len;
    filter_add(&b->run->filter, key);
    return OK;
}

/* --- many runs at once ------------------------------------------------------------------- */

static inline bool head_less(const struct shelf_head *a, const struct shelf_head *b) {
    int c = key_cmp(a->key, b->key);
    return c < 0 || (c == 0 && a->cursor < b->cursor);
}

static void heap_sink(struct shelf_merger *m, uint32_t at) {
    struct shelf_head head = m->heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= m->heap_count)
            break;
        if (child + 1 < m->heap_count && head_less(&m->heap[child + 1], &m->heap[child]))
            child++;
        if (!head_less(&m->heap[child], &head))
            break;
        m->heap[at] = m->heap[child];
        at = child;
    }
    m->heap[at] = head;
}

static enum err cursor_fill(struct shelf_merger *m, struct shelf_cursor *c, struct fault *fault) {
    enum err err = chunk_load(m->conn, c->run, c->next++, &c->bytes, &c->cap, &c->chunk, fault);
    c->at = 0;
    c->value = c->chunk.values;
    return err;
}

enum err merger_make(struct shelf_merger *m, struct shelf_conn *conn, struct shelf_run **runs,
                     uint32_t count, struct fault *fault) {
    *m = (struct shelf_merger){.conn = conn};
    m->cursors = mem_zalloc((count + 1) * sizeof *m->cursors);
    m->heap = mem_zalloc((count + 1) * sizeof *m->heap);
    if (!m->cursors || !m->heap)
        return fault_set(fault, ERR_NOMEM, "no memory to read the written state");
    m->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct shelf_cursor *c = &m->cursors[i];
        c->run = runs[i];
        if (c->run->chunks == 0)
            continue;
        enum err err = cursor_fill(m, c, fault);
        if (err != OK)
            return err;
        m->heap[m->heap_count++] = (struct shelf_head){chunk_key(&c->chunk, 0), i};
    }
    for (uint32_t i = m->heap_count / 2; i-- > 0;)
        heap_sink(m, i);
    return OK;
}

void merger_free(struct shelf_merger *m) {
    for (uint32_t i = 0; i < m->count; i++)
        mem_free(m->cursors[i].bytes);
    mem_free(m->cursors);
    mem_free(m->heap);
    *m = (struct shelf_merger){0};
}

enum err merger_next(struct shelf_merger *m, uint64_t *read, struct fault *fault) {
    struct hash128 key = m->heap[0].key;
    do {
        struct shelf_head *head = &m->heap[0];
        struct shelf_cursor *c = &m->cursors[head->cursor];
        uint32_t len = chunk_len(&c->chunk, c->at);
        len = len == SHELF_GONE ? 0 : len;
        c->value += len;
        *read += 20 + len;
        if (++c->at == c->chunk.count) {
            if (c->next == c->run->chunks) {
                *head = m->heap[--m->heap_count];
            } else {
                enum err err = cursor_fill(m, c, fault);
                if (err != OK)
                    return err;
                head->key = chunk_key(&c->chunk, 0);
            }
        } else {
            head->key = chunk_key(&c->chunk, c->at);
        }
        heap_sink(m, 0);
    } while (m->heap_count > 0 && hash128_eq(m->heap[0].key, key));
    return OK;
}
