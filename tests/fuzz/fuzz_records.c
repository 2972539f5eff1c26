/* Any bytes into the reader of delimited and fixed-width records, in windows of any length. It moves
 * on with every record, counts the lines there are, gives texts that may stand in the journal, and
 * the same ones however its window grows. */
#include "fuzz.h"

#include "base/arena.h"
#include "base/encode.h"
#include "base/hash.h"
#include "base/err.h"
#include "connect/csv.h"

#define WINDOW_MAX 4096

struct seen {
    uint64_t records, lines, problems, hash;
};

static struct seen read_all(const struct csv_dialect *dialect, struct str text, size_t step) {
    struct seen seen = {0};
    size_t at = 0, end = step < text.len ? step : text.len;
    struct arena arena;
    arena_init(&arena, 0);
    for (;;) {
        struct csv_record record;
        bool final = end == text.len;
        enum csv_result result = csv_next(dialect, str_of(text.ptr + at, end - at), final, WINDOW_MAX,
                                          &arena, &record);
        must(result != CSV_NOMEM);
        if (result == CSV_END)
            break;
        if (result == CSV_MORE) {
            must(!final && end - at < WINDOW_MAX);
            end = end + step < text.len ? end + step : text.len;
            continue;
        }
        must(record.bytes > 0 && record.bytes <= end - at);
        at += record.bytes;
        seen.lines += record.lines;
        seen.records += result == CSV_RECORD;
        seen.problems += record.problem != NULL;
        for (uint32_t i = 0; i < record.count; i++) {
            must(utf8_valid(record.fields[i]));
            seen.hash = hash64(record.fields[i], seen.hash + i + 1);
        }
        arena_reset(&arena);
    }
    must(at == text.len);
    arena_free(&arena);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint32_t widths[] = {3, 1, 7};
    if (size < 2 || size > WINDOW_MAX)
        return 0;
    struct csv_dialect dialect = {.delimiter = data[0] & 1 ? ';' : ',', .quote = data[0] & 2 ? '\0' : '"',
                                  .encoding = (enum csv_encoding)(data[0] / 4 % 3), .trim = data[0] & 16};
    if (data[0] & 32) {
        dialect.widths = widths;
        dialect.width_count = 3;
    }
    struct str text = str_of((const char *)data + 1, size - 1);
    struct seen whole = read_all(&dialect, text, text.len), parts = read_all(&dialect, text, 1 + data[1] % 40);
    must(whole.records == parts.records && whole.lines == parts.lines);
    must(whole.problems == parts.problems && whole.hash == parts.hash);
    struct arena arena;
    arena_init(&arena, 0);
    struct str number = csv_decimal(text, data[0] & 1 ? ',' : '.', &arena);
    must(number.len <= text.len);
    for (size_t i = 0; i < number.len; i++)
        must((number.ptr[i] >= '0' && number.ptr[i] <= '9') || number.ptr[i] == '.' ||
             (number.ptr[i] == '-' && i == 0));
    arena_free(&arena);
    return 0;
}
