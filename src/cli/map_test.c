/* map_test: fixtures of a mapping: fixtures/MAPPING/NAME.in.json with NAME.out.json, or
 * NAME.fail.txt; NAME.settings.json where other settings apply. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "cli/files.h"
#include "cli/map_priv.h"

#define FIXTURES_MAX 1000
#define FIXTURE_BYTES_MAX ((size_t)16 << 20)
#define DIFFERENCES_MAX 20

struct fixture {
    struct str folder, name;
    struct buf said; /* differences, one a line, as for a terminal */
    uint32_t differences;
};

struct tally {
    uint32_t ran, failed;
    struct buf json; /* [{…},…] */
    struct fault *fault; /* not NULL: failures go there, nothing is printed */
};

static struct str path_of(struct map_work *work, const struct fixture *f, const char *suffix) {
    return arena_printf(&work->cli->arena, "%.*s/%.*s%s", STR_FMT(f->folder), STR_FMT(f->name),
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

static struct str short_text(struct map_work *work, const struct json *value) {
    struct buf out;
    buf_init(&out, 0);
    json_write(&out, value);
    if (out.len > 120)
        out.len = 120;
    struct str s = arena_str(&work->cli->arena, buf_str(&out));
    buf_free(&out);
    return s.ptr ? s : STR("");
}

/* Compares values; object members by name whatever their order. */
static void compare(struct map_work *work, struct fixture *f, struct str at,
                    const struct json *want, const struct json *got) {
    struct arena *arena = &work->cli->arena;
    if (want->kind != got->kind || (want->kind == JSON_BOOL && want->count != got->count) ||
        ((want->kind == JSON_STRING || want->kind == JSON_NUMBER) &&
         !str_eq(want->text, got->text))) {
        differs(f, "%.*s: expected %.*s, got %.*s", STR_FMT(at), STR_FMT(short_text(work, want)),
                STR_FMT(short_text(work, got)));
    } else if (want->kind == JSON_ARRAY) {
        if (want->count != got->count)
            differs(f, "%.*s: expected %u elements, got %u", STR_FMT(at), want->count, got->count);
        const struct json *w = json_first(want), *g = json_first(got);
        for (uint32_t i = 0; i < want->count && i < got->count; i++) {
            compare(work, f, arena_printf(arena, "%.*s/%u", STR_FMT(at), i), w, g);
            w = json_next(w);
            g = json_next(g);
        }
    } else if (want->kind == JSON_OBJECT) {
        const struct json *name = json_first(want);
        for (uint32_t i = 0; i < want->count; i++) {
            const struct json *value = json_next(name), *other = json_member(got, name->text);
            struct str below = arena_printf(arena, "%.*s/%.*s", STR_FMT(at), STR_FMT(name->text));
            if (other)
                compare(work, f, below, value, other);
            else
                differs(f, "%.*s: expected %.*s, got nothing", STR_FMT(below),
                        STR_FMT(short_text(work, value)));
            name = json_next(value);
        }
        name = json_first(got);
        for (uint32_t i = 0; i < got->count; i++) {
            if (!json_member(want, name->text))
                differs(f, "%.*s/%.*s: expected nothing, got %.*s", STR_FMT(at),
                        STR_FMT(name->text), STR_FMT(short_text(work, json_next(name))));
            name = json_next(json_next(name));
        }
    }
}

/* A JSON file; NULL where there is none. What is wrong with it is a difference. */
static const struct json *read_json(struct map_work *work, struct fixture *f, const char *suffix) {
    struct str path = path_of(work, f, suffix);
    struct buf text;
    struct fault fault = {0};
    const struct json *out = NULL;
    if (!path.ptr || !files_exist(path.ptr))
        return NULL;
    buf_init(&text, FIXTURE_BYTES_MAX);
    enum err err = files_read(path.ptr, &text, &fault);
    if (!err)
        err = json_parse(work->parser, &work->cli->arena, buf_str(&text), false, &out, &fault);
    if (err)
        differs(f, "%.*s%s: %s", STR_FMT(f->name), suffix, fault.detail);
    buf_free(&text);
    return err ? NULL : out;
}

/* The mapping with the settings of NAME.settings.json laid over the connector's. */
static const struct mapping_source *source_of(struct map_work *work, struct fixture *f,
                                              const struct map_target *target,
                                              struct mapping_sources *own) {
    const struct json *over = read_json(work, f, ".settings.json"), *merged;
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
    if (json_parse(work->parser, &work->cli->arena, buf_str(&text), false, &merged, &fault) != OK ||
        mapping_sources_add_text(own, target->source->name, work->connector->version,
                                 target->source->code, merged, &source, &fault) != OK)
        differs(f, "settings: %s", fault.detail);
    buf_free(&text);
    return source;
}

static void write_expected(struct map_work *work, struct fixture *f, const struct json *answer) {
    struct buf text;
    struct fault fault = {0};
    struct str path = path_of(work, f, ".out.json");
    buf_init(&text, 0);
    map_pretty(&text, answer, 0);
    buf_char(&text, '\n');
    if (!path.ptr || files_write(path.ptr, buf_str(&text), 0644, &fault) != OK)
        differs(f, "%s", fault.detail);
    buf_free(&text);
}

/* The mapping failed, or its answer is no document of the hub: was that expected? */
static void judge_failure(struct map_work *work, struct fixture *f, const struct fault *fault) {
    struct str path = path_of(work, f, ".fail.txt");
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

static void judge(struct map_work *work, struct fixture *f, const struct map_target *target,
                  const struct mapping_source *source, const struct json *document) {
    const struct json *answer;
    struct fault fault;
    fault_init(&fault, &work->cli->arena);
    enum err err = mapper_run(work->mapper, source, document, &work->cli->arena, &answer, &fault);
    if (!err)
        err = map_check(work, target, answer, &fault);
    if (err) {
        judge_failure(work, f, &fault);
        return;
    }
    struct str fail = path_of(work, f, ".fail.txt");
    if (fail.ptr && files_exist(fail.ptr)) {
        differs(f, "expected to fail, but it maps");
        return;
    }
    if (cli_flag(work->cli, "update")) {
        write_expected(work, f, answer);
        return;
    }
    const struct json *want = read_json(work, f, ".out.json");
    if (want)
        compare(work, f, STR(""), want, answer);
    else if (f->differences == 0)
        differs(f, "%.*s.out.json is missing; --update writes it", STR_FMT(f->name));
}

static void report(struct map_work *work, const struct map_target *target, struct fixture *f,
                   struct tally *tally) {
    bool good = f->differences == 0;
    tally->ran++;
    tally->failed += !good;
    if (f->differences > DIFFERENCES_MAX)
        buf_printf(&f->said, "    and %u more\n", f->differences - DIFFERENCES_MAX);
    if (tally->fault) {
        if (!good)
            fault_add(tally->fault, path_of(work, f, ".in.json"), "%.*s",
                      STR_FMT(str_trim(buf_str(&f->said))));
        return;
    }
    if (!work->cli->json) {
        printf("%s %.*s %.*s\n%.*s", good ? "ok    " : "FAILED", STR_FMT(target->source->name),
               STR_FMT(f->name), STR_FMT(buf_str(&f->said)));
        return;
    }
    buf_str_add(&tally->json, tally->ran > 1 ? STR(",{\"mapping\":") : STR("{\"mapping\":"));
    buf_json_str(&tally->json, target->source->name);
    buf_lit(&tally->json, ",\"fixture\":");
    buf_json_str(&tally->json, f->name);
    buf_printf(&tally->json, ",\"ok\":%s,\"differences\":", good ? "true" : "false");
    buf_json_str(&tally->json, str_trim(buf_str(&f->said)));
    buf_char(&tally->json, '}');
}

static void run_fixture(struct map_work *work, const struct map_target *target, struct str folder,
                        struct str name, struct tally *tally) {
    struct fixture f = {.folder = folder, .name = name};
    struct mapping_sources *own = mapping_sources_create();
    struct mapper *shared = work->mapper;
    buf_init(&f.said, 1 << 20);
    const struct json *document = read_json(work, &f, ".in.json");
    if (document && own) {
        const struct mapping_source *source = source_of(work, &f, target, own);
        if (source != target->source) /* a mapper keeps what it runs: give this one its own */
            work->mapper = mapper_create(MAPPING_LIMITS_DEFAULT);
        if (f.differences == 0 && work->mapper)
            judge(work, &f, target, source, document);
        if (work->mapper != shared)
            mapper_destroy(work->mapper);
        work->mapper = shared;
    }
    report(work, target, &f, tally);
    mapping_sources_destroy(own);
    buf_free(&f.said);
}

static int name_order(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* Names of the fixtures in a folder, sorted; none where there is no folder. */
static uint32_t list_fixtures(struct map_work *work, struct str folder, struct str **names) {
    uint32_t count = 0;
    *names = arena_array(&work->cli->arena, FIXTURES_MAX, sizeof **names);
    DIR *dir = *names ? opendir(folder.ptr) : NULL;
    for (struct dirent *entry; dir && count < FIXTURES_MAX && (entry = readdir(dir));) {
        struct str file = str_c(entry->d_name), suffix = STR(".in.json");
        if (file.len > suffix.len &&
            memcmp(file.ptr + file.len - suffix.len, suffix.ptr, suffix.len) == 0)
            (*names)[count++] = arena_str(&work->cli->arena,
                                          str_of(file.ptr, file.len - suffix.len));
    }
    if (dir)
        closedir(dir);
    qsort(*names, count, sizeof **names, name_order);
    return count;
}

static void fixtures_run(struct map_work *work, const char *only, struct tally *tally) {
    for (uint32_t t = 0; t < work->target_count; t++) {
        const struct map_target *target = &work->targets[t];
        struct str folder = arena_printf(&work->cli->arena, "%.*s/fixtures/%.*s",
                                         STR_FMT(work->connector->dir), (int)target->file.len - 4,
                                         target->file.ptr);
        struct str *names;
        uint32_t count = folder.ptr ? list_fixtures(work, folder, &names) : 0;
        for (uint32_t i = 0; i < count; i++) {
            if (!only || str_is(names[i], only))
                run_fixture(work, target, folder, names[i], tally);
        }
    }
}

uint32_t map_fixtures(struct map_work *work, struct fault *fault) {
    struct tally tally = {.fault = fault};
    fixtures_run(work, NULL, &tally);
    return tally.ran;
}

int map_test(struct map_work *work, const char *only) {
    struct tally tally = {0};
    buf_init(&tally.json, 0);
    buf_char(&tally.json, '[');
    fixtures_run(work, only, &tally);
    buf_lit(&tally.json, "]\n");
    int code = tally.failed ? EXIT_FAILED : EXIT_DONE;
    if (work->cli->json)
        code = cli_print(work->cli, buf_str(&tally.json)) == EXIT_DONE ? code : EXIT_FAILED;
    buf_free(&tally.json);
    if (tally.ran == 0)
        return cli_fail(work->cli, EXIT_FAILED, only ? "there is no such fixture"
                                                     : "the connector has no fixtures");
    if (!work->cli->json)
        printf("%u fixtures, %u failed\n", tally.ran, tally.failed);
    return code;
}
