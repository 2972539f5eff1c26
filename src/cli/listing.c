/* listing: see listing.h. */
#include "cli/listing.h"

#include <stdio.h>
#include <string.h>

struct str listing_text(const struct json *object, const char *name) {
    const struct json *value = object ? json_member(object, str_c(name)) : NULL;
    return value && value->kind != JSON_NULL ? value->text : STR("-");
}

int listing_line(struct cli *cli, const struct json *value) {
    struct buf line;
    buf_init(&line, 0);
    json_write(&line, value);
    buf_char(&line, '\n');
    int code = cli_print(cli, buf_str(&line));
    buf_free(&line);
    return code;
}

static int page_each(const struct json *page, int (*visit)(void *ctx, const struct json *item), void *ctx) {
    const struct json *items = json_member(page, STR("items"));
    const struct json *item = items && items->kind == JSON_ARRAY ? json_first(items) : NULL;
    int code = EXIT_DONE;
    for (uint32_t i = 0; item && i < items->count && code == EXIT_DONE; i++, item = json_next(item))
        code = visit(ctx, item);
    return code;
}

int listing_each(struct cli *cli, struct client *client, const char *path,
                 int (*visit)(void *ctx, const struct json *item), void *ctx) {
    struct arena arena;
    struct buf page;
    int code = EXIT_DONE;
    arena_init(&arena, 0);
    buf_init(&page, 0);
    buf_str_add(&page, str_c(path));
    for (bool more = true; more && code == EXIT_DONE;) {
        struct client_answer answer;
        struct fault fault;
        arena_reset(&arena);
        fault_init(&fault, &arena);
        if (client_get(client, buf_cstr(&page), &arena, &answer, &fault) != OK) {
            code = cli_fault(cli, &fault);
            break;
        }
        code = page_each(answer.json, visit, ctx);
        struct str cursor = json_member_str(answer.json, STR("next_cursor"));
        more = cursor.len > 0;
        buf_clear(&page);
        buf_printf(&page, "%s%scursor=", path, strchr(path, '?') ? "&" : "?");
        client_encode(&page, cursor);
    }
    buf_free(&page);
    arena_free(&arena);
    return code;
}

/* --- printing -------------------------------------------------------------------------------- */

struct printing {
    struct cli *cli;
    void (*row)(const struct json *item);
    uint64_t count;
};

static int item_print(void *ctx, const struct json *item) {
    struct printing *p = ctx;
    p->count++;
    if (p->cli->json)
        return listing_line(p->cli, item);
    p->row(item);
    return EXIT_DONE;
}

static int printed(const struct printing *p, int code, const char *none) {
    if (code == EXIT_DONE && p->count == 0 && !p->cli->json)
        fprintf(stderr, "%s\n", none);
    return code;
}

int listing_print(struct cli *cli, struct client *client, const char *path,
                  void (*row)(const struct json *item), const char *none) {
    struct printing p = {.cli = cli, .row = row};
    return printed(&p, listing_each(cli, client, path, item_print, &p), none);
}

int listing_whole(struct cli *cli, struct client *client, const char *path,
                  void (*row)(const struct json *item), const char *none) {
    struct client_answer answer;
    struct fault fault;
    if (!cli->json)
        return listing_print(cli, client, path, row, none);
    fault_init(&fault, &cli->arena);
    if (client_get(client, path, &cli->arena, &answer, &fault) != OK)
        return cli_fault(cli, &fault);
    int code = cli_print(cli, answer.body);
    return code == EXIT_DONE ? cli_print(cli, STR("\n")) : code;
}
