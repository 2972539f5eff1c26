/* Streams: their addresses, and the look-up in a JetStream stream, step by step against a stream in memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/mem.h"
#include "connect/nats_look.h"
#include "connect/stream_url.h"

static struct arena arena;

/* --- addresses --------------------------------------------------------------------------------- */

static void is_text(struct str got, const char *want) {
    if (!str_is(got, want))
        fail_msg("\"%.*s\", not \"%s\"", STR_FMT(got), want);
}

static void test_an_address_is_taken_apart(void **state) {
    struct stream_url url;
    struct fault fault = {0};
    assert_int_equal(stream_url_read(STR("nats+tls://a:1,b:2/orders.x%2Fy%20%2A?ca=%2Fetc%2Fca.pem"), &arena, &url,
                                     &fault), OK);
    assert_int_equal(url.kind, STREAM_NATS);
    assert_true(url.tls);
    is_text(url.hosts, "a:1,b:2");
    is_text(url.path, "orders.x/y%20%2A"); /* a blank and a wildcard can not stand in a subject */
    is_text(stream_url_option(&url, "ca", &arena), "/etc/ca.pem");
    assert_null(stream_url_option(&url, "cert", &arena).ptr);
    assert_int_equal(stream_url_read(STR("kafka://k:9092/orders?key=a%20b"), &arena, &url, &fault), OK);
    assert_int_equal(url.kind, STREAM_KAFKA);
    assert_false(url.tls);
    is_text(url.path, "orders");
    is_text(stream_url_option(&url, "key", &arena), "a b");
    struct str which;
    assert_true(stream_url_options_known(&url, stream_url_options[STREAM_KAFKA], &which));
    assert_false(stream_url_options_known(&url, stream_url_options[STREAM_NATS], &which));
    is_text(which, "key");
}

static void test_what_is_no_address_is_refused(void **state) {
    static const char *const wrong[] = {"http://a/b", "nats:///x", "nats://user:secret@a/x", "kafka:/a", ""};
    struct stream_url url;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct fault fault = {0};
        assert_int_equal(stream_url_read(str_c(wrong[i]), &arena, &url, &fault), ERR_INVALID);
    }
}

static void test_subjects_and_topics(void **state) {
    assert_true(stream_subject_good(STR("a.b-c.D"), false));
    assert_false(stream_subject_good(STR(""), true));
    assert_false(stream_subject_good(STR("a..b"), true));
    assert_false(stream_subject_good(STR("a."), true));
    assert_false(stream_subject_good(STR("a.*"), false));
    assert_false(stream_subject_good(STR("a b"), true));
    assert_true(stream_subject_good(STR("a.*.>"), true));
    assert_false(stream_subject_good(STR(">.a"), true));
    assert_true(stream_topic_good(STR("a.b_c-9")));
    assert_false(stream_topic_good(STR("a/b")));
    assert_false(stream_topic_good(STR("")));
}

static void test_who_calls(void **state) {
    struct stream_login login;
    struct fault fault = {0};
    assert_int_equal(stream_login_read(STR("Basic aHViOnNlOmNyZXQ="), &arena, &login, &fault), OK);
    is_text(login.user, "hub");
    is_text(login.password, "se:cret");
    assert_int_equal(stream_login_read(STR("Bearer t0ken"), &arena, &login, &fault), OK);
    is_text(login.token, "t0ken");
    assert_null(login.user.ptr);
    assert_int_equal(stream_login_read(STR("Digest x"), &arena, &login, &fault), ERR_INVALID);
}

/* --- a stream in memory --------------------------------------------------------------------------- */

struct message {
    const char *subject, *id;
    int64_t at_s; /* since 2026-01-01 */
    bool gone;
};
#define EPOCH INT64_C(1767225600000000)
#define STORED_MAX 3000
static struct message stored[STORED_MAX];
static uint32_t stored_count;

static void store(const char *subject, const char *id, int64_t at_s) {
    stored[stored_count++] = (struct message){subject, id, at_s, false};
}

static void say(struct buf *out, uint32_t seq) {
    const struct message *m = &stored[seq - 1];
    struct buf head;
    buf_init(&head, 0);
    buf_printf(&head, "NATS/1.0\r\nce-id: x\r\nNats-Msg-Id: %s\r\n\r\n", m->id);
    buf_printf(out, "{\"message\":{\"subject\":\"%s\",\"seq\":%u,\"hdrs\":\"", m->subject, seq);
    base64_write(out, buf_str(&head));
    buf_lit(out, "\",\"data\":\"e30=\",\"time\":\"");
    instant_write(out, (struct instant){.us = EPOCH + m->at_s * 1000000 + 123456});
    out->len--; /* nine digits, as the server writes them */
    buf_lit(out, "789Z\"}}");
    buf_free(&head);
}

/* As nats-server answers STREAM.NAMES and STREAM.MSG.GET. */
static void answer(const struct nats_look *look, struct json_parser *parser, struct buf *out) {
    const struct json *ask;
    struct fault fault = {0};
    buf_clear(out);
    assert_int_equal(json_parse(parser, &arena, buf_str(&look->question), false, &ask, &fault), OK);
    if (str_is(buf_str(&look->to), "$JS.API.STREAM.NAMES")) {
        buf_lit(out, "{\"total\":1,\"streams\":[\"S\"]}");
        return;
    }
    is_text(buf_str(&look->to), "$JS.API.STREAM.MSG.GET.S");
    struct str last = json_member_str(ask, STR("last_by_subj")), next = json_member_str(ask, STR("next_by_subj"));
    uint64_t from = 1;
    uint32_t found = 0;
    const struct json *seq = json_member(ask, STR("seq"));
    assert_true(!seq || str_u64(seq->text, &from));
    for (uint32_t i = (uint32_t)from; i <= stored_count && !(next.len && found); i++)
        if (!stored[i - 1].gone && str_is(last.len ? last : next, stored[i - 1].subject))
            found = i;
    if (found)
        say(out, found);
    else
        buf_lit(out, "{\"error\":{\"code\":404,\"err_code\":10037,\"description\":\"no message found\"}}");
}

/* *seq: where; *steps: questions it took. */
static enum nats_look_end look_for(const char *subject, const char *id, int64_t since_s, uint64_t *seq,
                                   uint32_t *steps) {
    struct json_parser *parser = json_parser_create();
    struct nats_look look = {.subject = str_c(subject), .id = str_c(id),
                             .since_us = since_s < 0 ? 0 : EPOCH + since_s * 1000000};
    struct buf out;
    buf_init(&out, 0);
    buf_init(&look.to, 0);
    buf_init(&look.question, 0);
    enum nats_look_end end = nats_look_begin(&look);
    *steps = 0;
    while (end == NATS_LOOK_ASK) {
        answer(&look, parser, &out);
        (*steps)++;
        end = nats_look_answer(&look, buf_str(&out), parser, &arena);
    }
    *seq = look.seq;
    buf_free(&look.to);
    buf_free(&look.question);
    buf_free(&out);
    json_parser_destroy(parser);
    return end;
}

static int empty(void **state) {
    arena_reset(&arena);
    stored_count = 0;
    return 0;
}

static void test_the_last_of_its_subject_is_found_at_once(void **state) {
    uint64_t seq;
    uint32_t steps;
    store("a", "1", 10);
    store("b", "2", 20);
    assert_int_equal(look_for("a", "1", 10, &seq, &steps), NATS_LOOK_FOUND);
    assert_int_equal(seq, 1);
    assert_int_equal(steps, 2);
    assert_int_equal(look_for("c", "1", 10, &seq, &steps), NATS_LOOK_ABSENT);
}

static void test_one_behind_which_others_came_is_found(void **state) {
    uint64_t seq;
    uint32_t steps;
    static char ids[2000][8];
    for (int i = 0; i < 2000; i++) {
        snprintf(ids[i], sizeof ids[i], "%d", i);
        store(i % 3 ? "b" : "a", ids[i], i * 60); /* each minute one */
    }
    assert_int_equal(look_for("a", "1500", 1500 * 60, &seq, &steps), NATS_LOOK_FOUND);
    assert_int_equal(seq, 1501);
    assert_true(steps < 40);
    assert_int_equal(look_for("a", "1501", 1501 * 60, &seq, &steps), NATS_LOOK_ABSENT); /* another subject's */
    stored[1500].gone = true;
    assert_int_equal(look_for("a", "1500", 1500 * 60, &seq, &steps), NATS_LOOK_ABSENT);
    /* the server's clock is some minutes behind the hub's */
    assert_int_equal(look_for("a", "1800", 1809 * 60, &seq, &steps), NATS_LOOK_FOUND);
    /* nobody knows when it happened: all are looked through */
    assert_int_equal(look_for("a", "1200", -1, &seq, &steps), NATS_LOOK_FOUND);
    assert_int_equal(look_for("a", "none", -1, &seq, &steps), NATS_LOOK_ABSENT);
}

static void test_too_many_to_look_through_is_not_said_to_be_absent(void **state) {
    uint64_t seq;
    uint32_t steps;
    for (int i = 0; i < NATS_LOOK_STEPS_MAX + 10; i++)
        store("a", "other", 10);
    assert_int_equal(look_for("a", "mine", 10, &seq, &steps), NATS_LOOK_UNKNOWN);
    assert_int_equal(steps, NATS_LOOK_STEPS_MAX + 1);
}

static void test_an_answer_that_makes_no_sense_is_not_an_answer(void **state) {
    static const char *const wrong[] = {
        "", "[]", "no", "{}", "{\"streams\":[]}", "{\"streams\":null}", "{\"streams\":[1]}",
        "{\"error\":{\"code\":404,\"description\":\"no JetStream\"}}",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct json_parser *parser = json_parser_create();
        struct nats_look look = {.subject = STR("a"), .id = STR("1")};
        buf_init(&look.to, 0);
        buf_init(&look.question, 0);
        assert_int_equal(nats_look_begin(&look), NATS_LOOK_ASK);
        assert_int_equal(nats_look_answer(&look, str_c(wrong[i]), parser, &arena), NATS_LOOK_UNKNOWN);
        assert_true(look.why[0] != '\0');
        buf_free(&look.to);
        buf_free(&look.question);
        json_parser_destroy(parser);
    }
}

static int begin(void **state) {
    arena_init(&arena, (size_t)1 << 30);
    return 0;
}
static int end(void **state) {
    arena_free(&arena);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_address_is_taken_apart),
        cmocka_unit_test(test_what_is_no_address_is_refused),
        cmocka_unit_test(test_subjects_and_topics),
        cmocka_unit_test(test_who_calls),
        cmocka_unit_test_setup(test_the_last_of_its_subject_is_found_at_once, empty),
        cmocka_unit_test_setup(test_one_behind_which_others_came_is_found, empty),
        cmocka_unit_test_setup(test_too_many_to_look_through_is_not_said_to_be_absent, empty),
        cmocka_unit_test_setup(test_an_answer_that_makes_no_sense_is_not_an_answer, empty),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
