/* mapping: sources (texts, compiled once to check them) and the mapper, a thread's pool of
 * sandboxes. A sandbox is made when its mapping first runs in that thread. */
#include "map/mapping.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "map/map_priv.h"

#define SOURCE_BYTES_MAX ((size_t)1 << 20)
#define SOURCES_MAX 4096

static _Atomic uint64_t ids; /* given so far */

struct mapping_sources {
    struct arena arena;
    struct mapping_source **items;
    uint32_t count, cap;
};

struct mapping_sources *mapping_sources_create(void) {
    struct mapping_sources *sources = mem_zalloc(sizeof *sources);
    if (sources)
        arena_init(&sources->arena, 0);
    return sources;
}

void mapping_sources_destroy(struct mapping_sources *sources) {
    if (!sources)
        return;
    arena_free(&sources->arena);
    mem_free(sources->items);
    mem_free(sources);
}

const struct mapping_source *mapping_sources_at(const struct mapping_sources *sources, uint32_t i) {
    return i < sources->count ? sources->items[i] : NULL;
}

bool mapping_sources_have(const struct mapping_sources *sources, uint64_t id) {
    for (uint32_t i = 0; i < sources->count; i++)
        if (sources->items[i]->id == id)
            return true;
    return false;
}

/* Compiles once, in a sandbox of its own, to find what is wrong with the text. */
static enum err source_check(const struct mapping_source *source, struct fault *fault) {
    struct sandbox *sandbox;
    struct mapping_limits limits = MAPPING_LIMITS_DEFAULT;
    limits.bytes_max = 65536;
    enum err err = sandbox_create(source, limits, &sandbox, fault);
    if (!err)
        sandbox_destroy(sandbox);
    return err;
}

static enum err source_keep(struct mapping_sources *sources, struct mapping_source *source,
                            struct fault *fault) {
    enum err err = source_check(source, fault);
    if (err)
        return err;
    if (sources->count == SOURCES_MAX)
        return fault_set(fault, ERR_TOO_LARGE, "more than %d mappings", SOURCES_MAX);
    if (sources->count == sources->cap) {
        uint32_t cap = sources->cap ? sources->cap * 2 : 16;
        void *more = mem_resize(sources->items, cap * sizeof *sources->items);
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for mappings");
        sources->items = more;
        sources->cap = cap;
    }
    source->index = sources->count;
    source->id = atomic_fetch_add(&ids, 1) + 1;
    sources->items[sources->count++] = source;
    return OK;
}

/* "1.0.0+5f3a90c21b7e": build metadata, as Semantic Versioning 2.0.0 (section 10) writes it. */
static struct str source_version(struct arena *arena, struct str connector, struct str code) {
    unsigned long long hash = hash64(code, 0) >> 16;
    return connector.len ? arena_printf(arena, "%.*s+%012llx", STR_FMT(connector), hash)
                         : arena_printf(arena, "%012llx", hash);
}

enum err mapping_sources_add_text(struct mapping_sources *sources, struct str name,
                                  struct str version, struct str code, const struct json *settings,
                                  const struct mapping_source **out, struct fault *fault) {
    struct mapping_source *source = arena_new(&sources->arena, struct mapping_source);
    if (!source)
        return fault_set(fault, ERR_NOMEM, "no memory for mappings");
    source->name = arena_str(&sources->arena, name);
    source->code = arena_str(&sources->arena, code);
    source->version = source_version(&sources->arena, version, code);
    struct str rest = source->name;
    source->system = str_cut(&rest, '/');
    source->settings = settings;
    if (!source->name.ptr || !source->code.ptr || !source->version.ptr)
        return fault_set(fault, ERR_NOMEM, "no memory for mappings");
    *out = source;
    return source_keep(sources, source, fault);
}

static enum err file_read(const char *path, struct buf *out, struct fault *fault) {
    FILE *file = fopen(path, "rbe");
    if (!file)
        return fault_set(fault, ERR_IO, "%s: %s", path, strerror(errno));
    char part[16384];
    size_t n;
    while ((n = fread(part, 1, sizeof part, file)) > 0)
        buf_add(out, part, n);
    bool failed = ferror(file) != 0;
    fclose(file);
    if (failed)
        return fault_set(fault, ERR_IO, "%s: can not be read", path);
    if (!buf_ok(out))
        return fault_set(fault, ERR_TOO_LARGE, "%s: larger than %zu bytes", path, SOURCE_BYTES_MAX);
    return OK;
}

enum err mapping_sources_add(struct mapping_sources *sources, struct str name, struct str version,
                             const char *path, const struct json *settings,
                             const struct mapping_source **out, struct fault *fault) {
    for (uint32_t i = 0; i < sources->count; i++) {
        if (str_is(sources->items[i]->path, path) && sources->items[i]->settings == settings) {
            *out = sources->items[i];
            return OK;
        }
    }
    struct buf code;
    buf_init(&code, SOURCE_BYTES_MAX);
    enum err err = file_read(path, &code, fault);
    if (!err)
        err = mapping_sources_add_text(sources, name, version, buf_str(&code), settings, out, fault);
    if (!err) {
        struct mapping_source *source = sources->items[(*out)->index];
        source->path = arena_str(&sources->arena, str_c(path));
    }
    buf_free(&code);
    return err;
}

/* --- mapper ---------------------------------------------------------------------------- */

struct mapper {
    struct mapping_limits limits;
    struct sandbox **sandboxes;
    uint64_t *ids; /* of their sources, which may be gone */
    uint32_t count, cap;
    const struct mapping_hub *hub;
    void *hub_ctx;
    struct mapping_problem problem;
};

struct mapper *mapper_create(struct mapping_limits limits) {
    struct mapper *mapper = mem_zalloc(sizeof *mapper);
    if (mapper)
        mapper->limits = limits;
    return mapper;
}

void mapper_destroy(struct mapper *mapper) {
    if (!mapper)
        return;
    for (uint32_t i = 0; i < mapper->count; i++)
        sandbox_destroy(mapper->sandboxes[i]);
    mem_free(mapper->sandboxes);
    mem_free(mapper->ids);
    mem_free(mapper);
}

void mapper_hub(struct mapper *mapper, const struct mapping_hub *hub, void *ctx) {
    mapper->hub = hub;
    mapper->hub_ctx = ctx;
}

const struct mapping_problem *mapper_problem(const struct mapper *mapper) {
    return &mapper->problem;
}

void mapper_keep(struct mapper *mapper, bool (*wanted)(void *ctx, uint64_t id), void *ctx) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < mapper->count; i++) {
        if (!wanted(ctx, mapper->ids[i])) {
            sandbox_destroy(mapper->sandboxes[i]);
            continue;
        }
        mapper->sandboxes[kept] = mapper->sandboxes[i];
        mapper->ids[kept++] = mapper->ids[i];
    }
    mapper->count = kept;
}

static enum err mapper_sandbox(struct mapper *mapper, const struct mapping_source *source,
                               struct sandbox **out, struct fault *fault) {
    for (uint32_t i = 0; i < mapper->count; i++) {
        if (mapper->ids[i] == source->id) {
            *out = mapper->sandboxes[i];
            return OK;
        }
    }
    if (mapper->count == mapper->cap) {
        uint32_t cap = mapper->cap ? mapper->cap * 2 : 8;
        void *more = mem_resize(mapper->sandboxes, cap * sizeof(struct sandbox *));
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for mappings");
        mapper->sandboxes = more;
        more = mem_resize(mapper->ids, cap * sizeof *mapper->ids);
        if (!more)
            return fault_set(fault, ERR_NOMEM, "no memory for mappings");
        mapper->ids = more;
        mapper->cap = cap;
    }
    enum err err = sandbox_create(source, mapper->limits, out, fault);
    if (!err) {
        mapper->ids[mapper->count] = source->id;
        mapper->sandboxes[mapper->count++] = *out;
    }
    return err;
}

/* The sandbox of the source, ready to ask this mapper's hub. */
static enum err mapper_ready(struct mapper *mapper, const struct mapping_source *source,
                             struct sandbox **out, struct fault *fault) {
    mapper->problem = (struct mapping_problem){.kind = MAPPING_FAILED};
    enum err err = mapper_sandbox(mapper, source, out, fault);
    if (err)
        return err;
    (*out)->hub = mapper->hub;
    (*out)->hub_ctx = mapper->hub_ctx;
    (*out)->problem = &mapper->problem;
    return OK;
}

enum err mapper_run(struct mapper *mapper, const struct mapping_source *source,
                    const struct json *document, struct arena *arena, const struct json **out,
                    struct fault *fault) {
    struct sandbox *sandbox = NULL;
    enum err err = mapper_ready(mapper, source, &sandbox, fault);
    if (!err)
        err = sandbox_run(sandbox, document, arena, out, fault);
    if (err == ERR_INVALID && sandbox && sandbox->call_name)
        sandbox_explain(sandbox, document, fault);
    return err;
}

bool mapping_nothing(const struct json *answer, struct str *words) {
    *words = STR_NONE;
    if (answer->kind == JSON_OBJECT && answer->count == 1)
        *words = json_member_str(answer, STR("nothing"));
    return words->len > 0;
}

uint32_t mapping_routes(const struct json *answer) {
    return answer->kind == JSON_ARRAY ? answer->count : answer->kind == JSON_OBJECT ? 1 : 0;
}

bool mapping_route(const struct json *answer, uint32_t index, struct mapping_route *out) {
    const struct json *at = answer;
    if (answer->kind == JSON_ARRAY) {
        at = json_first(answer);
        for (uint32_t i = 0; i < index; i++)
            at = json_next(at);
    }
    if (at->kind != JSON_OBJECT || at->count != 2)
        return false;
    out->command = json_member_str(at, STR("command"));
    out->document = json_member(at, STR("document"));
    return out->command.len > 0 && out->document;
}

enum err mapper_trace(struct mapper *mapper, const struct mapping_source *source,
                      const struct json *document, struct arena *arena, const struct json **out,
                      struct mapping_trace *trace, struct fault *fault) {
    struct sandbox *sandbox;
    enum err err = mapper_ready(mapper, source, &sandbox, fault);
    return err ? err : sandbox_trace(sandbox, document, arena, out, trace, fault);
}
