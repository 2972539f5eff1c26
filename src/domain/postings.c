/* postings: see postings.h. State: per subscription a bitmap over seq, in pages made when they
 * are first needed: one bit per event remembers for ever that it was posted. */
#include "domain/postings.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "domain/items.h"
#include "domain/orders.h"

static const struct shape_field posting_rows[] = {
    [POSTING_SUBSCRIPTION] = SHAPE_ROW(struct posting, subscription, SHAPE_CODE,
                                       "Which subscription posted it", .flags = SHAPE_REQUIRED),
    [POSTING_CONNECTOR] = SHAPE_ROW(struct posting, connector, SHAPE_CODE, "To which system"),
    [POSTING_EVENT_SEQ] = SHAPE_ROW(struct posting, event_seq, SHAPE_INTEGER,
                                    "seq of the event that was posted", .flags = SHAPE_REQUIRED,
                                    .min = 1, .max = INT64_MAX),
    [POSTING_ORDER_ID] = SHAPE_ROW(struct posting, order_id, SHAPE_ID,
                                   "What it is about: the subject of that event",
                                   .flags = SHAPE_REQUIRED, .max = 512),
    [POSTING_REFERENCE] = SHAPE_ROW(struct posting, reference, SHAPE_ID,
                                    "The system's own number", .max = 256),
    [POSTING_ATTEMPTS] = SHAPE_ROW(struct posting, attempts, SHAPE_INTEGER,
                                   "Attempts it took since the hub was started"),
    [POSTING_FOUND] = SHAPE_ROW(struct posting, found, SHAPE_BOOL,
                                "It was there already: found by a look-up"),
    [POSTING_MAPPING] = SHAPE_ROW(struct posting, mapping, SHAPE_TEXT,
                                  "The mapping that made the document"),
    [POSTING_MAPPING_VERSION] = SHAPE_ROW(struct posting, mapping_version, SHAPE_TEXT,
                                          "Its version: the connector's, and a hash of its text"),
};
SHAPE_DEFINE(posting_shape, "posting", struct posting, "What went to the books", posting_rows);

/* --- state ------------------------------------------------------------------------------- */

/* 32768 events to a page of 4 KiB; 2^17 pages to a book hold 2^32 events. */
#define PAGE_BITS 15
#define PAGE_WORDS (1u << (PAGE_BITS - 6))
struct page {
    struct book *book;
    uint64_t number; /* of the page: the seqs from number << PAGE_BITS on */
    uint32_t slot;   /* among all pages */
    _Atomic uint64_t words[PAGE_WORDS];
};
/* Pages are reached through blocks, so that a reader on another thread never sees an array move. */
#define BLOCK_PAGES 1024
#define BLOCKS_MAX 1024
struct block {
    struct page *_Atomic pages[BLOCK_PAGES];
};
struct book {
    struct str subscription; /* own memory */
    struct block *_Atomic blocks[BLOCKS_MAX];
    uint64_t count;
};
struct postings_state {
    struct book *_Atomic books[POSTINGS_SUBSCRIPTIONS_MAX];
    _Atomic uint32_t count;
    struct page **pages; /* of all books, as they were made; writer only */
    uint32_t page_count, page_cap;
};

static struct book *book_find(const struct postings_state *s, struct str subscription) {
    uint32_t count = atomic_load_explicit(&s->count, memory_order_acquire);
    for (uint32_t i = 0; i < count; i++) {
        struct book *book = atomic_load_explicit(&s->books[i], memory_order_acquire);
        if (str_eq(book->subscription, subscription))
            return book;
    }
    return NULL;
}

static struct page *book_page(const struct book *book, uint64_t seq) {
    uint64_t number = seq >> PAGE_BITS;
    if (number / BLOCK_PAGES >= BLOCKS_MAX)
        return NULL;
    struct block *block =
        atomic_load_explicit(&book->blocks[number / BLOCK_PAGES], memory_order_acquire);
    return block ? atomic_load_explicit(&block->pages[number % BLOCK_PAGES], memory_order_acquire)
                 : NULL;
}

bool posting_known(const void *state, struct str subscription, uint64_t seq) {
    const struct book *book = book_find(state, subscription);
    const struct page *page = book ? book_page(book, seq) : NULL;
    uint64_t bit = seq & ((1u << PAGE_BITS) - 1);
    return page && (atomic_load_explicit(&page->words[bit / 64], memory_order_relaxed) >>
                    (bit % 64) & 1u);
}

static void book_free(struct book *book) {
    for (uint32_t b = 0; b < BLOCKS_MAX; b++) {
        struct block *block = book->blocks[b];
        for (uint32_t p = 0; block && p < BLOCK_PAGES; p++)
            mem_free(block->pages[p]);
        mem_free(block);
    }
    mem_free((char *)(uintptr_t)book->subscription.ptr);
    mem_free(book);
}

static void postings_free(void *part) {
    struct postings_state *s = part;
    for (uint32_t i = 0; i < s->count; i++)
        book_free(s->books[i]);
    mem_free(s->pages);
}

static struct book *book_make(struct postings_state *s, struct str subscription) {
    must(s->count < POSTINGS_SUBSCRIPTIONS_MAX);
    struct book *book = mem_zalloc(sizeof *book);
    char *name = mem_alloc(subscription.len + 1);
    if (!book || !name) {
        mem_free(book);
        mem_free(name);
        return NULL;
    }
    memcpy(name, subscription.ptr, subscription.len);
    book->subscription = str_of(name, subscription.len);
    atomic_store_explicit(&s->books[s->count], book, memory_order_release);
    atomic_fetch_add_explicit(&s->count, 1, memory_order_release);
    return book;
}

static struct page *page_new(struct postings_state *s, struct book *book, uint64_t number) {
    if (!MEM_ROOM(s->pages, s->page_count, s->page_cap, 64))
        return NULL;
    struct page *page = mem_zalloc(sizeof *page);
    if (!page)
        return NULL;
    page->book = book;
    page->number = number;
    page->slot = s->page_count;
    s->pages[s->page_count++] = page;
    return page;
}

static struct page *page_make(struct postings_state *s, struct book *book, uint64_t number) {
    struct block *block = book->blocks[number / BLOCK_PAGES];
    if (!block) {
        block = mem_zalloc(sizeof *block);
        if (!block)
            return NULL;
        atomic_store_explicit(&book->blocks[number / BLOCK_PAGES], block, memory_order_release);
    }
    struct page *page = block->pages[number % BLOCK_PAGES];
    if (!page) {
        page = page_new(s, book, number);
        if (page)
            atomic_store_explicit(&block->pages[number % BLOCK_PAGES], page,
                                  memory_order_release);
    }
    return page;
}

static const struct entity_kind page_entity;

static enum err posted_apply(struct state *state, const struct event *event) {
    struct postings_state *s = state_of(state, &postings_capability);
    const struct posting *posting = event->data;
    uint64_t seq = (uint64_t)posting->event_seq;
    struct book *book = book_find(s, posting->subscription);
    if (!book && !(book = book_make(s, posting->subscription)))
        return ERR_NOMEM;
    struct page *page = page_make(s, book, seq >> PAGE_BITS);
    if (!page)
        return ERR_NOMEM;
    uint64_t bit = seq & ((1u << PAGE_BITS) - 1);
    atomic_fetch_or_explicit(&page->words[bit / 64], UINT64_C(1) << (bit % 64),
                             memory_order_relaxed);
    book->count++;
    return entity_changed(state, &page_entity, page->slot);
}

static struct hash128 page_key(const void *part, uint32_t slot) {
    const struct page *page = ((const struct postings_state *)part)->pages[slot];
    return entity_number_key(hash64(page->book->subscription, 0), page->number);
}

static void page_save(const void *part, uint32_t slot, struct buf *out) {
    const struct page *page = ((const struct postings_state *)part)->pages[slot];
    pack_str(out, page->book->subscription);
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t word = page->words[i];
        buf_add(out, &word, sizeof word);
    }
}

static enum err page_load(void *part, struct hash128 key, struct str bytes, uint32_t *slot) {
    struct postings_state *s = part;
    struct unpack in = unpack_of(bytes);
    struct str subscription = unpack_str(&in);
    if (in.failed || in.end - in.at != PAGE_WORDS * 8 ||
        key.lo >= (uint64_t)BLOCK_PAGES * BLOCKS_MAX)
        return ERR_DAMAGED;
    struct book *book = book_find(s, subscription);
    if (!book && s->count == POSTINGS_SUBSCRIPTIONS_MAX)
        return ERR_DAMAGED;
    if (!book && !(book = book_make(s, subscription)))
        return ERR_NOMEM;
    struct page *page = page_make(s, book, key.lo);
    if (!page)
        return ERR_NOMEM;
    for (uint32_t i = 0; i < PAGE_WORDS; i++) {
        uint64_t word;
        memcpy(&word, in.at + i * sizeof word, sizeof word);
        page->words[i] = word;
        book->count += (uint64_t)__builtin_popcountll(word);
    }
    *slot = page->slot;
    return OK;
}

static const struct entity_kind page_entity = {
    .name = "posting.page", .flags = ENTITY_RESIDENT,
    .help = "Which events were posted, a bit each", .load = page_load, .key = page_key,
    .save = page_save};
static const struct entity_kind *const posting_entities[] = {&page_entity, NULL};

static size_t postings_memory(const void *part) {
    return ((const struct postings_state *)part)->page_count * sizeof(struct page);
}

static int book_cmp(const struct book *a, const struct book *b) {
    return str_cmp(a->subscription, b->subscription);
}

static void book_dump(const struct book *book, struct buf *out) {
    buf_printf(out, "%.*s count=%llu", STR_FMT(book->subscription),
               (unsigned long long)book->count);
    for (uint64_t b = 0; b < BLOCKS_MAX; b++) {
        const struct block *block = book->blocks[b];
        for (uint64_t p = 0; block && p < BLOCK_PAGES; p++) {
            const struct page *page = block->pages[p];
            for (uint64_t w = 0; page && w < PAGE_WORDS; w++)
                if (page->words[w])
                    buf_printf(out, " %llu:%llx",
                               (unsigned long long)(((b * BLOCK_PAGES + p) << PAGE_BITS) + w * 64),
                               (unsigned long long)page->words[w]);
        }
    }
    buf_char(out, '\n');
}

static void postings_dump(const void *part, struct buf *out) {
    const struct postings_state *s = part;
    const struct book *sorted[POSTINGS_SUBSCRIPTIONS_MAX];
    uint32_t count = s->count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0 && book_cmp(s->books[i], sorted[at - 1]) < 0; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = s->books[i];
    }
    for (uint32_t i = 0; i < count; i++)
        book_dump(sorted[i], out);
}

/* --- read model ---------------------------------------------------------------------------- */

enum { COL_SUBSCRIPTION, COL_EVENT_SEQ, COL_ORDER, COL_CONNECTOR, COL_REFERENCE, COL_POSTED, COL_SEQ };
static const struct table_column posting_columns[] = {
    [COL_SUBSCRIPTION] = {"subscription", COLUMN_TEXT, "Which subscription posted it"},
    [COL_EVENT_SEQ] = {"event_seq", COLUMN_INTEGER, "seq of the event that was posted"},
    [COL_ORDER] = {"order_id", COLUMN_TEXT, "What it is about"},
    [COL_CONNECTOR] = {"connector", COLUMN_TEXT, "To which system"},
    [COL_REFERENCE] = {"reference", COLUMN_TEXT, "The system's own number"},
    [COL_POSTED] = {"posted_us", COLUMN_INTEGER, "When, microseconds since 1970", UNIT_INSTANT_US},
    [COL_SEQ] = {"seq", COLUMN_INTEGER, "Of the event posting.posted"},
};
static const char *const posting_indexes[] = {"order_id", "seq", NULL};
static const struct table postings_table = {
    .name = "postings",
    .help = "What went to the books, with the number it has there",
    .columns = posting_columns,
    .count = sizeof posting_columns / sizeof *posting_columns,
    .key_columns = 2,
    .indexes = posting_indexes,
};
static const struct table *const posting_tables[] = {&postings_table, NULL};

static void posted_project(struct rows *rows, const struct event *event) {
    const struct posting *posting = event->data;
    struct row_value values[] = {
        [COL_SUBSCRIPTION] = row_text(posting->subscription),
        [COL_EVENT_SEQ] = row_int(posting->event_seq),
        [COL_ORDER] = row_text(posting->order_id),
        [COL_CONNECTOR] = row_text(posting->connector),
        [COL_REFERENCE] = row_text(posting->reference),
        [COL_POSTED] = row_int(event->time_us),
        [COL_SEQ] = row_int((int64_t)event->seq),
    };
    rows_put(rows, &postings_table, UINT64_MAX, values);
    if (posting->reference.len)
        rows_ref(rows, posting->reference);
}

static const char *const posted_reads[] = {"subscription", "connector", "event_seq", "order_id",
                                           "reference", NULL};
const struct event_type posting_posted_event = {
    .name = "posting.posted", .shape = &posting_shape, .apply = posted_apply,
    .project = posted_project, .project_reads = posted_reads,
    .help = "A system has it in its books, under its own number"};
static const struct event_type *const posting_events[] = {&posting_posted_event, NULL};

/* --- command ------------------------------------------------------------------------------- */

static enum err record_decide(struct decision *decision, const struct command *command) {
    const struct postings_state *s = decision_state(decision, &postings_capability);
    const struct posting *given = command->body;
    if (posting_known(s, given->subscription, (uint64_t)given->event_seq))
        return decision_answer(decision, 200, &posting_shape, given);
    if ((uint64_t)given->event_seq >> PAGE_BITS >= (uint64_t)BLOCK_PAGES * BLOCKS_MAX)
        return decision_refuse(decision, ERR_INVALID, "no event has this seq");
    if (!book_find(s, given->subscription) && s->count == POSTINGS_SUBSCRIPTIONS_MAX)
        return decision_refuse(decision, ERR_CONFLICT, "more than %d subscriptions post",
                               POSTINGS_SUBSCRIPTIONS_MAX);
    struct posting *posting;
    if (!decision_event(decision, &posting_posted_event, given->order_id, (void **)&posting))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    *posting = *given;
    return decision_answer(decision, 201, &posting_shape, posting);
}
/* The order will note it. */
static void record_needs(struct command *command) {
    order_need(command, ((const struct posting *)command->body)->order_id);
}
const struct command_type posting_record_command = {
    .name = "posting.record", .shape = &posting_shape, .decide = record_decide,
    .needs = record_needs,
    .flags = COMMAND_INTERNAL, .help = "Tells that a system has it in its books"};
static const struct command_type *const posting_commands[] = {&posting_record_command, NULL};

/* --- asking -------------------------------------------------------------------------------- */

static void posting_item(struct query *query, const struct row_value *values) {
    struct buf *out = query->out;
    buf_lit(out, "{\"subscription\":");
    buf_json_str(out, values[COL_SUBSCRIPTION].text);
    buf_printf(out, ",\"event_seq\":%lld", (long long)values[COL_EVENT_SEQ].integer);
    query_member(query, "order_id", values[COL_ORDER].text);
    query_member(query, "connector", values[COL_CONNECTOR].text);
    query_member(query, "reference", values[COL_REFERENCE].text);
    buf_lit(out, ",\"posted_at\":\"");
    instant_write(out, (struct instant){.us = values[COL_POSTED].integer});
    buf_printf(out, "\",\"seq\":%lld}", (long long)values[COL_SEQ].integer);
}

static enum err postings_query(struct query *query, struct fault *fault) {
    static const struct query_filter by[] = {{"order_id", COL_ORDER},
                                             {"subscription", COL_SUBSCRIPTION},
                                             {"connector", COL_CONNECTOR},
                                             {NULL, 0}};
    return query_rows(query, &postings_table, COL_SEQ, by, posting_item, fault);
}

static const struct query_param posting_params[] = {
    {"order_id", false, false, "Only of this order"},
    {"subscription", false, false, "Only by this subscription"},
    {"connector", false, false, "Only to this system"},
    {"limit", false, false, "Items on a page, 1 to 1000 (100)", QUERY_WHOLE, 1, 1000},
    {"cursor", false, false, "next_cursor of the page before"},
    {NULL, false, false, NULL},
};
static const struct route posting_routes[] = {
    {.method = "GET", .path = "/v1/postings", .scope = "postings:read", .traffic = CLASS_BULK,
     .query = postings_query, .params = posting_params, .answer = &posting_item_shape,
     .help = "What went to the books, oldest first"},
    {.method = NULL},
};

const struct capability postings_capability = {
    .name = "postings",
    .help = "What went to the books of which system, under which number",
    .commands = posting_commands,
    .events = posting_events,
    .routes = posting_routes,
    .tables = posting_tables,
    .state_size = sizeof(struct postings_state),
    .state_free = postings_free,
    .entities = posting_entities,
    .memory = postings_memory,
    .dump = postings_dump,
};
