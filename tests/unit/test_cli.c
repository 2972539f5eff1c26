/* Unit tests of the command line: parsing, manual pages, exit codes, suggestions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/cli.h"
#include "cli/tables.h"
#include "cli/client.h"
#include "base/files.h"
#include "cli/hub.h"

struct ran {
    int code;
    char out[16384], err[4096];
};

static void file_take(FILE *file, char *text, size_t size) {
    rewind(file);
    size_t n = fread(text, 1, size - 1, file);
    text[n] = '\0';
    fclose(file);
}

/* Runs the program in this process with stdout and stderr in files. */
static struct ran run(const char *const *words) {
    static struct ran ran;
    char *argv[16] = {(char *)(uintptr_t)"penstock"};
    int argc = 1;
    for (; words[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)words[argc - 1];
    FILE *out = tmpfile(), *err = tmpfile();
    assert_non_null(out);
    assert_non_null(err);
    fflush(stdout);
    fflush(stderr);
    int kept_out = dup(1), kept_err = dup(2);
    dup2(fileno(out), 1);
    dup2(fileno(err), 2);
    ran.code = cli_main(argc, argv);
    fflush(stdout);
    fflush(stderr);
    dup2(kept_out, 1);
    dup2(kept_err, 2);
    close(kept_out);
    close(kept_err);
    file_take(out, ran.out, sizeof ran.out);
    file_take(err, ran.err, sizeof ran.err);
    return ran;
}
#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

static void help_goes_to_stdout_and_every_command_has_a_page(void **state) {
    (void)state;
    struct ran ran = RUN("--help");
    assert_int_equal(ran.code, EXIT_DONE);
    assert_string_equal(ran.err, "");
    for (const struct cli_command *const *c = cli_commands; *c; c++) {
        assert_non_null(strstr(RUN("--help").out, (*c)->summary));
        ran = RUN((*c)->name, "--help");
        assert_int_equal(ran.code, EXIT_DONE);
        for (size_t i = 0; i < 4; i++)
            assert_non_null(strstr(ran.out, (const char *[]){"NAME\n", "SYNOPSIS\n",
                                                            "DESCRIPTION\n", "EXIT CODES\n"}[i]));
        char page[sizeof ran.out];
        memcpy(page, ran.out, sizeof page);
        assert_string_equal(RUN("help", (*c)->name).out, page);
    }
}

static void wrong_usage_answers_2_and_suggests(void **state) {
    (void)state;
    struct ran ran = RUN("hlep");
    assert_int_equal(ran.code, EXIT_USAGE);
    assert_string_equal(ran.out, "");
    assert_non_null(strstr(ran.err, "did you mean 'help'?"));
    ran = RUN("zzzzzzzz");
    assert_int_equal(ran.code, EXIT_USAGE);
    assert_null(strstr(ran.err, "did you mean"));
    ran = RUN("help", "--jsno");
    assert_int_equal(ran.code, EXIT_USAGE);
    assert_non_null(strstr(ran.err, "did you mean '--json'?"));
    assert_int_equal(RUN("help", "help", "help").code, EXIT_USAGE);
    assert_int_equal(RUN("help", "-x").code, EXIT_USAGE);
    assert_int_equal(RUN("help", "--json=1").code, EXIT_USAGE);
    assert_int_equal(RUN("--nonsense").code, EXIT_USAGE);
    char *none[] = {(char *)(uintptr_t)"penstock", NULL};
    FILE *kept = stderr;
    stderr = fopen("/dev/null", "w");
    assert_int_equal(cli_main(1, none), EXIT_USAGE);
    fclose(stderr);
    stderr = kept;
    assert_non_null(strstr(RUN("--version").out, "penstock " PENSTOCK_VERSION));
}

static void client_encodes_what_a_path_may_not_hold(void **state) {
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    client_encode(&out, STR("A-z.0_9~/ %\xc3\xa4"));
    assert_string_equal(buf_cstr(&out), "A-z.0_9~%2F%20%25%C3%A4");
    buf_free(&out);
}

static void files_come_whole_or_not_at_all(void **state) {
    (void)state;
    char dir[] = "/tmp/penstock-test-XXXXXX", path[64];
    struct fault fault = {0};
    struct buf text;
    bool empty = false;
    buf_init(&text, 0);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(files_folder_empty(dir, &empty, &fault), OK);
    assert_true(empty);
    snprintf(path, sizeof path, "%s/a/b/c.txt", dir);
    assert_int_equal(files_read(path, &text, &fault), ERR_NOT_FOUND);
    assert_int_equal(files_folder_above(path, &fault), OK);
    assert_int_equal(files_write(path, STR("one"), 0600, &fault), OK);
    assert_int_equal(files_write(path, STR("two"), 0600, &fault), OK);
    assert_int_equal(files_read(path, &text, &fault), OK);
    assert_string_equal(buf_cstr(&text), "two");
    assert_int_equal(files_folder(path, &fault), ERR_IO);
    assert_int_equal(files_folder_empty(dir, &empty, &fault), OK);
    assert_false(empty);
    assert_int_equal(files_remove(dir, &fault), OK);
    assert_false(files_exist(dir));
    buf_free(&text);
}

static void addresses_are_read_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
    } good[] = {{"127.0.0.1:8480", "127.0.0.1", 8480}, {"localhost:0", "127.0.0.1", 0},
                {"[::1]:65535", "::1", 65535}};
    static const char *const bad[] = {"", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                                      "127.0.0.1:-1", "::1:80", "[]:80", "a:8o"};
    char host[32];
    uint16_t port;
    struct fault fault = {0};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(hub_listen_parse(good[i].text, host, sizeof host, &port, &fault), OK);
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(hub_listen_parse(bad[i], host, sizeof host, &port, &fault), ERR_INVALID);
    assert_int_equal(hub_listen_parse("a-name-that-is-far-too-long-for-the-room:80", host, sizeof host,
                                      &port, &fault), ERR_INVALID);
}

/* What anybody may call, and why. A route without a scope that is not here was forgotten. */
static const char *const open_routes[] = {
    "GET /livez", "GET /readyz",             /* probes */
    "GET /openapi.json", "GET /asyncapi.json", /* the contract, for who may not call yet */
    "POST /x/{connector}/{topic}", "POST /x/{connector}/{topic}/{part}", /* signed by the partner */
    "GET /ops/login", "GET /ops/callback",   /* begin and end signing in */
    "GET /ops/me", "POST /ops/logout",       /* ask for a session's cookie themselves */
    "POST /oauth2/token",                    /* asks for the client's secret itself */
    "GET /.well-known/jwks.json", "GET /.well-known/oauth-authorization-server", /* public keys */
    NULL,
};

static uint32_t routes_check(const struct route *routes) {
    uint32_t open = 0;
    for (const struct route *r = routes; r && r->method; r++) {
        char text[256];
        bool named = false;
        snprintf(text, sizeof text, "%s %s", r->method, r->path);
        for (uint32_t i = 0; open_routes[i]; i++)
            named = named || strcmp(open_routes[i], text) == 0;
        if (named != !r->scope)
            fail_msg("%s: %s", text, named ? "is listed as open and has a scope"
                                           : "has no scope and is not listed as open");
        if (r->scope)
            assert_non_null(strchr(r->scope, ':'));
        open += named;
    }
    return open;
}

static void every_route_has_a_scope_or_is_open_on_purpose(void **state) {
    const struct api_tables *tables = cli_tables();
    uint32_t open = 0, listed = 0;
    for (const struct capability *const *c = tables->capabilities; *c; c++)
        open += routes_check((*c)->routes);
    for (const struct api_extra *e = tables->extras; e && e->name; e++)
        open += routes_check(e->routes);
    while (open_routes[listed])
        listed++;
    assert_int_equal(open, listed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_goes_to_stdout_and_every_command_has_a_page),
        cmocka_unit_test(wrong_usage_answers_2_and_suggests),
        cmocka_unit_test(client_encodes_what_a_path_may_not_hold),
        cmocka_unit_test(files_come_whole_or_not_at_all),
        cmocka_unit_test(addresses_are_read_or_refused),
        cmocka_unit_test(every_route_has_a_scope_or_is_open_on_purpose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
