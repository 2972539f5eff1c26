/* partner: see partner.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "connect/receive.h"
#include "partner.h"

static void path_of(const struct partner *p, char path[512], const char *name) {
    snprintf(path, 512, "%s/connectors/%s/%s", p->dir, p->name, name);
}

static void inbound_open(struct partner *p) {
    struct fault fault;
    fault_init(&fault, &p->cell->arena);
    struct inbound_options options = {p->cell->core, p->cell->tail, p->connectors};
    assert_int_equal(inbound_create(&options, &p->inbound, &fault), OK);
}

bool partner_open(struct partner *p, struct cell *cell, const char *name,
                  const struct partner_file *files, size_t count) {
    char path[512];
    struct fault fault;
    *p = (struct partner){.name = name, .files = files, .file_count = count, .cell = cell};
    snprintf(p->dir, sizeof p->dir, "/tmp/penstock-partner-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(path, sizeof path, "%s/connectors", p->dir);
    mkdir(path, 0755);
    path_of(p, path, "");
    mkdir(path, 0755);
    for (size_t i = 0; i < count; i++) {
        path_of(p, path, files[i].name);
        FILE *file = fopen(path, "wb");
        assert_non_null(file);
        fputs(files[i].text, file);
        fclose(file);
    }
    fault_init(&fault, &cell->arena);
    if (connectors_load(p->dir, &p->connectors, &fault) != OK) {
        print_error("%s\n", fault.detail);
        for (const struct fault_item *item = fault.first; item; item = item->next)
            print_error("%.*s: %.*s\n", STR_FMT(item->pointer), STR_FMT(item->detail));
        return false;
    }
    inbound_open(p);
    return true;
}

void partner_close(struct partner *p) {
    char path[512];
    inbound_destroy(p->inbound);
    connectors_release(p->connectors);
    for (size_t i = 0; i < p->file_count; i++) {
        path_of(p, path, p->files[i].name);
        remove(path);
    }
    path_of(p, path, "");
    rmdir(path);
    snprintf(path, sizeof path, "%s/connectors", p->dir);
    rmdir(path);
    rmdir(p->dir);
}

static struct str no_header(void *ctx, struct str name) {
    (void)ctx;
    (void)name;
    return STR_NONE;
}

void partner_send(struct partner *p, const char *topic, const char *body) {
    struct fault fault;
    struct cell *cell = p->cell;
    struct receive_header_source source = {no_header, NULL};
    arena_reset(&cell->arena);
    fault_init(&fault, &cell->arena);
    assert_int_equal(receive_prepare(cell->core, p->connectors, str_c(p->name), str_c(topic),
                                     &source, str_c(body), cell->parser, &cell->arena,
                                     &cell->command, &fault),
                     OK);
    cell->command.origin = &cell->origin;
    cell->delivered = false;
    assert_int_equal(core_submit(cell->core, &cell->command, &fault), OK);
    for (int i = 0; i < 100 && !cell->delivered; i++)
        core_step(cell->core);
    assert_true(cell->delivered);
    assert_int_equal(cell->command.answer.err, OK);
}

void partner_settle(struct partner *p) {
    for (int idle = 0; idle < 3;) {
        uint32_t n = inbound_step(p->inbound);
        n += core_step(p->cell->core);
        idle = n ? 0 : idle + 1;
    }
}

void partner_again(struct partner *p, bool crash) {
    char *live = cell_dump(p->cell);
    inbound_destroy(p->inbound);
    crash ? cell_crash(p->cell) : cell_restart(p->cell);
    inbound_open(p);
    char *rebuilt = cell_dump(p->cell);
    if (!p->cell->shelved) /* what left memory is in no dump */
        assert_string_equal(live, rebuilt);
    mem_free(live);
    mem_free(rebuilt);
}

uint32_t partner_events(const struct partner *p, const char *type, const char *what) {
    uint32_t n = 0;
    const struct journal_mem *journal = &p->cell->journal;
    for (uint32_t i = 0; i < journal->count; i++) {
        struct str data = journal->records[i].data;
        n += str_is(journal->records[i].type, type) &&
             (*what == '\0' || memmem(data.ptr, data.len, what, strlen(what)));
    }
    return n;
}
