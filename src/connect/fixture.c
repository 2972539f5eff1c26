/* fixture: see fixture.h. */
#include "connect/fixture.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/files.h"
#include "base/mem.h"
#include "connect/auth.h"
#include "connect/connector_poll.h"
#include "connect/operation.h"
#include "domain/list.h"

#define FIXTURES_MAX 1000
#define FIXTURE_BYTES_MAX ((size_t)16 << 20)
#define DIFFERENCES_MAX 20

struct fixture {
    struct str folder, name;
    struct buf said; /* differences, one a line, as for a terminal */
    uint32_t differences;
};

static struct str path_of(struct fixture_bench *bench, const struct fixture *f, const char *suffix) {
    return arena_printf(bench->arena, "%.*s/%.*s%s", STR_FMT(f->folder), STR_FMT(f->name),
                        suffix);
}

static void differs(struct fixture *f, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void differs(struct fixture *f, const char *fmt, ...) {
    if (f->differences++ >= DIFFERENCES_MAX)
        return;
    char line[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    buf_printf(&f->said, "    %s\n", line);
}

static struct str short_text(struct fixture_bench *bench, const struct json *value) {
    struct buf out;
    buf_init(&out, 0);
    json_write(&out, value);
    if (out.len > 120)
        out.len = 120;
    struct str s = arena_str(bench->arena, buf_str(&out));
    buf_free(&out);
    return s.ptr ? s : STR("");
}

/* Compares values; object members by name whatever their order. */
static void compare(struct fixture_bench *bench, struct fixture *f, struct str at,
                    const struct json *want, const struct json *got) {
    struct arena *arena = bench->arena;
    if (want->kind != got->kind || (want->kind == JSON_BOOL && want->count != got->count) ||
        ((want->kind == JSON_STRING || want->kind == JSON_NUMBER) &&
         !str_eq(want->text, got->text))) {
        differs(f, "%.*s: expected %.*s, got %.*s", STR_FMT(at), STR_FMT(short_text(bench, want)),
                STR_FMT(short_text(bench, got)));
    } else if (want->kind == JSON_ARRAY) {
        if (want->count != got->count)
            differs(f, "%.*s: expected %u elements, got %u", STR_FMT(at), want->count, got->count);
        const struct json *w = json_first(want), *g = json_first(got);
        for (uint32_t i = 0; i < want->count && i < got->count; i++) {
            compare(bench, f, arena_printf(arena, "%.*s/%u", STR_FMT(at), i), w, g);
            w = json_next(w);
            g = json_next(g);
        }
    } else if (want->kind == JSON_OBJECT) {
        const struct json *name = json_first(want);
        for (uint32_t i = 0; i < want->count; i++) {
            const struct json *value = json_next(name), *other = json_member(got, name->text);
            struct str below = arena_printf(arena, "%.*s/%.*s", STR_FMT(at), STR_FMT(name->text));
            if (other)
                compare(bench, f, below, value, other);
            else
                differs(f, "%.*s: expected %.*s, got nothing", STR_FMT(below),
                        STR_FMT(short_text(bench, value)));
            name = json_next(value);
        }
        name = json_first(got);
        for (uint32_t i = 0; i < got->count; i++) {
            if (!json_member(want, name->text))
                differs(f, "%.*s/%.*s: expected nothing, got %.*s", STR_FMT(at),
                        STR_FMT(name->text), STR_FMT(short_text(bench, json_next(name))));
            name = json_next(json_next(name));
        }
    }
}

/* *out NULL where there is no such file. */
static enum err file_json(struct fixture_bench *bench, struct str path, const struct json **out,
                          struct fault *fault) {
    struct buf text;
    *out = NULL;
    if (!path.ptr || !files_exist(path.ptr))
        return OK;
    buf_init(&text, FIXTURE_BYTES_MAX);
    enum err err = files_read(path.ptr, &text, fault);
    if (!err)
        err = json_parse(bench->parser, bench->arena, buf_str(&text), false, out, fault);
    buf_free(&text);
    return err;
}

/* A JSON file; NULL where there is none. What is wrong with it is a difference. */
static const struct json *read_json(struct fixture_bench *bench, struct fixture *f, const char *suffix) {
    struct fault fault = {0};
    const struct json *out;
    enum err err = file_json(bench, path_of(bench, f, suffix), &out, &fault);
    if (err)
        differs(f, "%.*s%s: %s", STR_FMT(f->name), suffix, fault.detail);
    return err ? NULL : out;
}

enum err fixture_given(struct fixture_bench *bench, const struct connector_target *target,
                       struct str stem, struct mapping_given *given, struct fault *fault) {
    struct arena *arena = bench->arena;
    *given = (struct mapping_given){.system = target->source->system, .next = bench->hub,
                                    .next_ctx = bench->hub_ctx};
    mapper_hub(bench->mapper, &mapping_given_hub, given);
    enum err err = stem.len ? file_json(bench, arena_printf(arena, "%.*s.codes.json", STR_FMT(stem)),
                                        &given->codes, fault)
                            : OK;
    if (!err && stem.len)
        err = file_json(bench, arena_printf(arena, "%.*s.look.json", STR_FMT(stem)), &given->looks,
                        fault);
    return err ? err : mapping_given_check(given, fault);
}

/* The mapping with the settings of NAME.settings.json laid over the connector's. */
static const struct mapping_source *source_of(struct fixture_bench *bench, struct fixture *f,
                                              const struct connector_target *target,
                                              struct mapping_sources *own) {
    const struct json *over = read_json(bench, f, ".settings.json"), *merged;
    const struct json *base = target->source->settings;
    const struct mapping_source *source = target->source;
    if (!over || over->kind != JSON_OBJECT)
        return source;
    struct buf text;
    struct fault fault = {0};
    buf_init(&text, 0);
    buf_char(&text, '{');
    for (int pass = 0; pass < 2; pass++) {
        const struct json *from = pass ? base : over;
        const struct json *name = from ? json_first(from) : NULL;
        for (uint32_t i = 0; from && i < from->count; i++) {
            if (!pass || !json_member(over, name->text)) {
                if (text.len > 1)
                    buf_char(&text, ',');
                buf_json_str(&text, name->text);
                buf_char(&text, ':');
                json_write(&text, json_next(name));
            }
            name = json_next(json_next(name));
        }
    }
    buf_char(&text, '}');
    if (json_parse(bench->parser, bench->arena, buf_str(&text), false, &merged, &fault) != OK ||
        mapping_sources_add_text(own, target->source->name, target->connector->version,
                                 target->source->code, merged, &source, &fault) != OK)
        differs(f, "settings: %s", fault.detail);
    buf_free(&text);
    return source;
}

static void write_expected(struct fixture_bench *bench, struct fixture *f, const struct json *answer) {
    struct buf text;
    struct fault fault = {0};
    struct str path = path_of(bench, f, ".out.json");
    buf_init(&text, 0);
    json_pretty(&text, answer, 0);
    buf_char(&text, '\n');
    if (!path.ptr || files_write(path.ptr, buf_str(&text), 0644, &fault) != OK)
        differs(f, "%s", fault.detail);
    buf_free(&text);
}

/* The mapping failed, or its answer is no document of the hub: was that expected? */
static void judge_failure(struct fixture_bench *bench, struct fixture *f, const struct fault *fault) {
    struct str path = path_of(bench, f, ".fail.txt");
    struct buf want;
    struct fault ignored = {0};
    buf_init(&want, 65536);
    if (!path.ptr || !files_exist(path.ptr)) {
        differs(f, "%s", fault->detail);
        for (const struct fault_item *i = fault->first; i; i = i->next)
            differs(f, "%.*s: %.*s", STR_FMT(i->pointer), STR_FMT(i->detail));
    } else if (files_read(path.ptr, &want, &ignored) == OK) {
        while (want.len > 0 && (want.data[want.len - 1] == '\n' || want.data[want.len - 1] == ' '))
            want.len--;
        bool found = want.len == 0 || memmem(fault->detail, strlen(fault->detail), want.data,
                                             want.len);
        for (const struct fault_item *i = fault->first; i && !found; i = i->next)
            found = memmem(i->detail.ptr, i->detail.len, want.data, want.len);
        if (!found)
            differs(f, "expected to fail with \"%.*s\", but: %s", STR_FMT(buf_str(&want)),
                    fault->detail);
    }
    buf_free(&want);
}

static void judge(struct fixture_bench *bench, struct fixture *f, const struct connector_target *target,
                  const struct mapping_source *source, const struct json *document) {
    const struct json *answer;
    struct fault fault;
    fault_init(&fault, bench->arena);
    struct mapping_given given;
    struct str stem = path_of(bench, f, "");
    if (fixture_given(bench, target, stem, &given, &fault) != OK) {
        differs(f, "%.*s: codes or looks: %s", STR_FMT(f->name), fault.detail);
        return;
    }
    enum err err = mapper_run(bench->mapper, source, document, bench->arena, &answer, &fault);
    mapper_hub(bench->mapper, NULL, NULL);
    if (!err)
        err = fixture_check(bench, target, answer, &fault);
    if (err) {
        judge_failure(bench, f, &fault);
        return;
    }
    struct str fail = path_of(bench, f, ".fail.txt");
    if (fail.ptr && files_exist(fail.ptr)) {
        differs(f, "expected to fail, but it maps");
        return;
    }
    if (bench->update) {
        write_expected(bench, f, answer);
        return;
    }
    const struct json *want = read_json(bench, f, ".out.json");
    if (want)
        compare(bench, f, STR(""), want, answer);
    else if (f->differences == 0)
        differs(f, "%.*s.out.json is missing; --update writes it", STR_FMT(f->name));
}

static void report(struct fixture_bench *bench, const struct connector_target *target,
                   struct fixture *f) {
    if (f->differences > DIFFERENCES_MAX)
        buf_printf(&f->said, "    and %u more\n", f->differences - DIFFERENCES_MAX);
    bench->ran++;
    bench->failed += f->differences > 0;
    struct fixture_result result = {.mapping = target->source->name,
                                    .name = f->name,
                                    .path = path_of(bench, f, ".in.json"),
                                    .good = f->differences == 0,
                                    .said = buf_str(&f->said)};
    if (bench->visit)
        bench->visit(bench->ctx, &result);
}

static void run_fixture(struct fixture_bench *bench, const struct connector_target *target,
                        struct str folder, struct str name) {
    struct fixture f = {.folder = folder, .name = name};
    struct mapping_sources *own = mapping_sources_create();
    struct mapper *shared = bench->mapper;
    buf_init(&f.said, 1 << 20);
    const struct json *document = read_json(bench, &f, ".in.json");
    if (document && own) {
        const struct mapping_source *source = source_of(bench, &f, target, own);
        if (source != target->source) /* a mapper keeps what it runs: give this one its own */
            bench->mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
        if (f.differences == 0 && bench->mapper)
            judge(bench, &f, target, source, document);
        if (bench->mapper != shared)
            mapper_destroy(bench->mapper);
        bench->mapper = shared;
    }
    report(bench, target, &f);
    mapping_sources_destroy(own);
    buf_free(&f.said);
}

static int name_order(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Names of the fixtures in a folder, sorted; none where there is no folder. */
static uint32_t list_fixtures(struct fixture_bench *bench, struct str folder, struct str **names) {
    uint32_t count = 0;
    *names = arena_array(bench->arena, FIXTURES_MAX, sizeof **names);
    DIR *dir = *names ? opendir(folder.ptr) : NULL;
    for (struct dirent *entry; dir && count < FIXTURES_MAX && (entry = readdir(dir));) {
        struct str file = str_c(entry->d_name), suffix = STR(".in.json");
        if (file.len > suffix.len &&
            memcmp(file.ptr + file.len - suffix.len, suffix.ptr, suffix.len) == 0)
            (*names)[count++] = arena_str(bench->arena,
                                          str_of(file.ptr, file.len - suffix.len));
    }
    if (dir)
        closedir(dir);
    qsort(*names, count, sizeof **names, name_order);
    return count;
}

/* --- mappings of a connector ----------------------------------------------------------------- */

static bool mapping_named(struct str file, struct str name) {
    return !name.ptr || str_eq(file, name) ||
           (file.len == name.len + 4 && str_starts(file, name)); /* without ".lua" */
}

struct targets {
    struct connector_target *items;
    uint32_t count;
};

static void target_add(struct targets *targets, const struct connector *connector, struct str file,
                       const struct mapping_source *source, struct str command,
                       const struct connector_receive *receive) {
    for (uint32_t i = 0; i < targets->count; i++)
        if (targets->items[i].source == source)
            return;
    if (source && targets->count < CONNECTOR_TARGETS_MAX)
        targets->items[targets->count++] =
            (struct connector_target){connector, file, source, command, receive};
}

static void batch_targets(struct targets *targets, const struct connector *c,
                          const struct connector_batch *batch, struct str name) {
    const struct connector_batch_lookup *lookup = batch ? batch->lookup : NULL;
    const struct {
        struct str file;
        const struct mapping_source *source;
    } files[] = {{batch ? batch->mapping : STR_NONE, batch ? batch->mapping_source : NULL},
                 {batch ? batch->answer : STR_NONE, batch ? batch->answer_source : NULL},
                 {lookup ? lookup->mapping : STR_NONE, lookup ? lookup->mapping_source : NULL},
                 {lookup ? lookup->answer : STR_NONE, lookup ? lookup->answer_source : NULL}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i].source && mapping_named(files[i].file, name))
            target_add(targets, c, files[i].file, files[i].source, STR_NONE, NULL);
}

uint32_t connector_targets(const struct connector *c, struct str name,
                           struct connector_target out[CONNECTOR_TARGETS_MAX]) {
    struct targets targets = {.items = out};
    for (uint32_t i = 0; i < c->taken_count; i++) {
        const struct connector_receive *r = c->taken[i];
        if (mapping_named(r->mapping, name))
            target_add(&targets, c, r->mapping, r->source, r->command,
                       r->commands.count ? r : NULL);
    }
    for (uint32_t i = 0; i < c->poll.count; i++) {
        const struct connector_poll *poll = list_at(c->poll, struct connector_poll, i);
        if (poll->request_source && mapping_named(poll->how->mapping, name))
            target_add(&targets, c, poll->how->mapping, poll->request_source, STR_NONE, NULL);
        if (poll->answer_source && mapping_named(poll->answer, name))
            target_add(&targets, c, poll->answer, poll->answer_source, STR_NONE, NULL);
    }
    for (uint32_t i = 0; i < c->send.count; i++) {
        const struct connector_send *s = list_at(c->send, struct connector_send, i);
        struct str file = s->script.len ? s->script : s->mapping;
        if (s->source && mapping_named(file, name))
            target_add(&targets, c, file, s->source, STR_NONE, NULL);
        batch_targets(&targets, c, s->batch, name);
    }
    for (uint32_t i = 0; i < c->operations.count; i++) {
        const struct connector_operation *o = list_at(c->operations, struct connector_operation, i);
        if (o->source_in && mapping_named(o->mapping_in, name))
            target_add(&targets, c, o->mapping_in, o->source_in, STR_NONE, NULL);
        if (o->source_out && mapping_named(o->mapping_out, name))
            target_add(&targets, c, o->mapping_out, o->source_out, STR_NONE, NULL);
    }
    const struct connector_session *session = c->auth ? c->auth->session : NULL;
    if (session && mapping_named(session->mapping, name))
        target_add(&targets, c, session->mapping, session->source, STR_NONE, NULL);
    return targets.count;
}

static enum err command_check(struct fixture_bench *bench, struct str command,
                              const struct json *document, struct fault *fault) {
    const struct command_type *type = registry_command(bench->registry, command);
    if (!type || !type->shape)
        return fault_set(fault, ERR_INVALID, "there is no command %.*s", STR_FMT(command));
    void *body;
    enum err err = shape_decode(type->shape, document, bench->arena, STR(""), &body, fault);
    struct command_context context = {.config = bench->config, .clock = &clock_system, .fact = true};
    if (!err && type->check)
        err = type->check(&context, body, bench->arena, fault);
    return err;
}

static bool receive_may(const struct connector_receive *receive, struct str command) {
    for (uint32_t i = 0; i < receive->commands.count; i++)
        if (str_eq(*list_at(receive->commands, struct str, i), command))
            return true;
    return false;
}

static enum err routes_check(struct fixture_bench *bench, const struct connector_receive *receive,
                             const struct json *answer, struct fault *fault) {
    uint32_t count = mapping_routes(answer);
    enum err err = count ? OK : fault_set(fault, ERR_INVALID, "the mapping names no command");
    for (uint32_t i = 0; i < count && err == OK; i++) {
        struct mapping_route route;
        if (!mapping_route(answer, i, &route))
            err = fault_set(fault, ERR_INVALID, "the answer must be route(command, document) or a list of "
                            "those: the topic has several commands");
        else if (!receive_may(receive, route.command))
            err = fault_set(fault, ERR_INVALID, "the mapping routes to \"%.*s\", which is not among the "
                            "topic's commands", STR_FMT(route.command));
        else
            err = command_check(bench, route.command, route.document, fault);
    }
    return err;
}

enum err fixture_check(struct fixture_bench *bench, const struct connector_target *target,
                       const struct json *answer, struct fault *fault) {
    struct str words;
    bool ours = target->command.len || target->receive;
    if (!ours || mapping_nothing(answer, &words))
        return OK; /* a document of the other system: its shape is not ours */
    return target->receive ? routes_check(bench, target->receive, answer, fault)
                           : command_check(bench, target->command, answer, fault);
}

/* --- running them ------------------------------------------------------------------------------ */

enum err fixture_bench_open(struct fixture_bench *bench, struct fault *fault) {
    const struct settings *settings = &bench->config->settings;
    bench->parser = json_parser_create();
    bench->registry = registry_create(domain_capabilities);
    bench->mapper = mapper_create((struct mapping_limits){
        .instructions_max = settings->map_instructions_max, .bytes_max = settings->map_bytes_max,
        .looks_max = settings->map_looks_max});
    return bench->parser && bench->registry && bench->mapper
               ? OK
               : fault_set(fault, ERR_NOMEM, "out of memory");
}

void fixture_bench_close(struct fixture_bench *bench) {
    mapper_destroy(bench->mapper);
    if (bench->registry)
        registry_destroy(bench->registry);
    if (bench->parser)
        json_parser_destroy(bench->parser);
}

void fixtures_run(struct fixture_bench *bench, const struct connector_target *targets,
                  uint32_t count, const char *only) {
    for (uint32_t t = 0; t < count; t++) {
        const struct connector_target *target = &targets[t];
        struct str folder = arena_printf(bench->arena, "%.*s/fixtures/%.*s",
                                         STR_FMT(target->connector->dir), (int)target->file.len - 4,
                                         target->file.ptr);
        struct str *names;
        uint32_t found = folder.ptr ? list_fixtures(bench, folder, &names) : 0;
        for (uint32_t i = 0; i < found; i++)
            if (!only || str_is(names[i], only))
                run_fixture(bench, target, folder, names[i]);
    }
}
