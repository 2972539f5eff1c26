/* err: see err.h. */
#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>

const struct err_info *err_info(enum err err) {
    static const struct err_info infos[ERR_COUNT] = {
        [OK] = {"ok", 200, FINAL, "Done"},
#define ERROR(symbol, slug, status, disposition, title) [symbol] = {slug, status, disposition, title},
#include "base/errors.def"
#undef ERROR
    };
    must(err >= OK && err < ERR_COUNT);
    return &infos[err];
}

void fault_init(struct fault *fault, struct arena *arena) { *fault = (struct fault){.arena = arena}; }

/* A text that was cut to its room may end within a character: takes away what is left of it. */
static void cut_whole(char *text) {
    size_t len = strlen(text), tail = 0;
    while (tail < 3 && tail < len && ((unsigned char)text[len - 1 - tail] & 0xC0) == 0x80)
        tail++;
    unsigned char first = tail < len ? (unsigned char)text[len - 1 - tail] : 0;
    size_t needs = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    if (needs > 1 && needs != tail + 1)
        text[len - 1 - tail] = '\0';
}

enum err fault_set(struct fault *fault, enum err err, const char *fmt, ...) {
    if (fault) {
        va_list args;
        va_start(args, fmt);
        vsnprintf(fault->detail, sizeof fault->detail, fmt, args);
        va_end(args);
        cut_whole(fault->detail);
        fault->err = err;
    }
    return err;
}

/* Text in the arena; absent when memory is out, so that the fault itself is still counted. */
static struct str fault_vprintf(struct arena *arena, const char *fmt, va_list args) {
    char text[512];
    if (vsnprintf(text, sizeof text, fmt, args) < 0)
        text[0] = '\0';
    cut_whole(text);
    return arena_str(arena, str_c(text));
}

void fault_add(struct fault *fault, struct str pointer, const char *fmt, ...) {
    if (!fault)
        return;
    if (fault->err == OK)
        fault->err = ERR_INVALID;
    va_list args;
    va_start(args, fmt);
    if (fault->count++ == 0 && fault->detail[0] == '\0') {
        va_list again;
        va_copy(again, args);
        char where[124];
        snprintf(where, sizeof where, "%.*s", STR_FMT(pointer));
        cut_whole(where);
        int at = snprintf(fault->detail, sizeof fault->detail, "%s%s", where,
                          pointer.len ? ": " : "");
        if (at >= 0 && (size_t)at < sizeof fault->detail)
            vsnprintf(fault->detail + at, sizeof fault->detail - (size_t)at, fmt, again);
        cut_whole(fault->detail);
        va_end(again);
    }
    if (fault->arena && fault->count <= FAULT_ITEMS_MAX) {
        struct fault_item *item = arena_new(fault->arena, struct fault_item);
        if (item) {
            item->pointer = arena_str(fault->arena, pointer);
            item->detail = fault_vprintf(fault->arena, fmt, args);
            if (fault->last)
                fault->last->next = item;
            else
                fault->first = item;
            fault->last = item;
        }
    }
    va_end(args);
}

_Noreturn void must_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "level=error part=base msg=\"broken invariant\" at=%s:%d condition=\"%s\"\n",
            file, line, cond);
    abort();
}
