/* json_simdjson: the C++ shim over simdjson, its only user. It runs "stage 1" alone: UTF-8
 * validation and the list of token offsets, with the best kernel the processor has at run
 * time.
 *
 * Why not the two ready-made interfaces: DOM turns numbers into doubles and loses their
 * text. On-Demand keeps it, but leaves unvalidated what nobody asks for, and picks its own
 * kernel when it is compiled, which without -march flags is the slow one. Given the offsets,
 * building our nodes is one short loop in C (json.c) that checks all of the grammar itself. */
#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

#include <memory>
#include <new>

#include "base/json_priv.h"

/* Offsets take 4 bytes a byte of text: what is larger than this is given back after use. */
static constexpr size_t KEEP_BYTES = size_t(1) << 20;
static constexpr size_t FIRST_BYTES = 16384;

struct json_index {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> impl;
};

static enum json_index_result index_room(struct json_index *index, size_t len) {
    size_t have = index->impl ? index->impl->capacity() : 0;
    if (have >= len && (have <= KEEP_BYTES || len > KEEP_BYTES))
        return JSON_INDEX_OK;
    size_t want = have > KEEP_BYTES ? FIRST_BYTES : have;
    if (want < FIRST_BYTES)
        want = FIRST_BYTES;
    while (want < len)
        want = want >= KEEP_BYTES ? len : want * 2;
    simdjson::error_code error =
        index->impl ? index->impl->allocate(want, 1)
                    : simdjson::get_active_implementation()->create_dom_parser_implementation(
                          want, 1, index->impl);
    if (error) {
        index->impl.reset();
        return JSON_INDEX_NOMEM;
    }
    return JSON_INDEX_OK;
}

struct json_index *json_index_create(void) { return new (std::nothrow) json_index; }
void json_index_destroy(struct json_index *index) { delete index; }

enum json_index_result json_index_run(struct json_index *index, const char *text, size_t len,
                                      const uint32_t **offsets, uint32_t *count) {
    enum json_index_result room = index_room(index, len);
    if (room != JSON_INDEX_OK)
        return room;
    switch (index->impl->stage1(reinterpret_cast<const uint8_t *>(text), len,
                                simdjson::stage1_mode::regular)) {
    case simdjson::SUCCESS:
        *count = index->impl->n_structural_indexes;
        index->impl->structural_indexes[*count] = static_cast<uint32_t>(len);
        *offsets = index->impl->structural_indexes.get();
        return JSON_INDEX_OK;
    case simdjson::EMPTY: return JSON_INDEX_EMPTY;
    case simdjson::UTF8_ERROR: return JSON_INDEX_UTF8;
    case simdjson::UNCLOSED_STRING: return JSON_INDEX_UNCLOSED;
    case simdjson::UNESCAPED_CHARS: return JSON_INDEX_CONTROL;
    default: return JSON_INDEX_FAILED;
    }
}
