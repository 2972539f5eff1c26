/* cell: a hub's core for unit tests: the real capabilities over a journal in memory, a clock
 * that stands still until it is moved, and a seeded random source. Commands are given as JSON. */
#ifndef PENSTOCK_TESTS_SUPPORT_CELL_H
#define PENSTOCK_TESTS_SUPPORT_CELL_H

#include "core/core.h"

/* A journal in memory that can be told to fail. */
struct journal_mem {
    struct journal journal;
    struct arena arena;
    struct record *records;
    uint32_t count, cap;
    uint32_t fail_appends;  /* so many appends fail from now on … */
    bool fail_after_write;  /* … though their records were written */
};
void journal_mem_init(struct journal_mem *j);

/* A shelf in memory, slow and simple, that can be told to fail. */
struct shelf_mem {
    struct shelf shelf;
    struct shelf_mem_entry {
        uint32_t space;
        struct hash128 key;
        char *value; /* NULL: gone */
        size_t len;
    } *entries;
    uint32_t count, cap;
    uint64_t seq;
    uint32_t fail_writes, fail_reads; /* so many fail from now on */
    bool damaged;                     /* a read answers ERR_DAMAGED until it is emptied */
};
void shelf_mem_init(struct shelf_mem *shelf);
void shelf_mem_free(struct shelf_mem *shelf);

struct cell {
    struct clock clock; /* first: clock callbacks get the cell back */
    int64_t now_us;
    int64_t back_us; /* the wall clock is set back by so much, and the tick is not */
    struct rng_seeded rng;
    struct config config;
    struct journal_mem journal;
    bool shelved; /* the state is written down, and little of it stays in memory */
    struct shelf_mem shelf;
    struct rng_seeded shelf_rng; /* when the shelf gets its turn */
    struct keyring *keyring; /* the caller's; NULL: nothing is sealed */
    struct tail *tail; /* of the journal, for followers */
    struct core *core;
    struct command_origin origin;
    struct arena arena; /* of the command under way */
    struct json_parser *parser;
    struct command command; /* the last one, with its answer */
    struct fault fault;     /* of a refusal before the writer */
    bool delivered;
};
void cell_open(struct cell *cell, uint64_t seed);
void cell_open_shelved(struct cell *cell, uint64_t seed);
/* What is personal is sealed. */
void cell_open_sealed(struct cell *cell, uint64_t seed, struct keyring *keyring);
void cell_close(struct cell *cell);
/* Stops the core and builds it anew from the journal, and the shelf where there is one. */
void cell_restart(struct cell *cell);
/* The same as after a kill: what was not written yet is not. */
void cell_crash(struct cell *cell);

/* Runs one command to its answer; status as HTTP would say it (201, 409 …). json NULL: no body;
 * arg0, idem_key may be NULL. */
int cell_run(struct cell *cell, const char *type, const char *json, const char *arg0,
             const char *idem_key);
/* The same for a fact. */
int cell_run_fact(struct cell *cell, const char *type, const char *json);
/* Body of the last answer. */
struct str cell_body(const struct cell *cell);
/* Availability of one position as "on_hand/held/committed"; the buffer lives till the next call. */
const char *cell_stock(struct cell *cell, const char *sku, const char *location);
/* The state as text, to be freed with mem_free. */
char *cell_dump(struct cell *cell);

#endif
