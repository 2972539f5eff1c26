/* client: HTTP calls to a running hub on libcurl's easy interface. Owns the handle, so that
 * connections are kept; answers are copied into the caller's arena, bounded. */
#include "cli/client.h"

#include <stdio.h>
#include <stdlib.h>

#include <curl/curl.h>

#include "base/mem.h"

#define TIMEOUT_DEFAULT_MS 30000
#define CONNECT_TIMEOUT_MS 5000

struct client {
    CURL *curl;
    struct json_parser *parser;
    char *hub, *key; /* key "": none */
    struct buf body;
    struct client_answer *answer; /* of the call under way */
};

static char *text_copy(const char *text) {
    size_t len = strlen(text) + 1;
    char *copy = mem_alloc(len);
    return copy ? memcpy(copy, text, len) : NULL;
}

struct client *client_create(const char *hub, const char *key) {
    static bool global;
    if (!global) {
        global = true;
        curl_global_init(CURL_GLOBAL_DEFAULT);
    }
    struct client *client = mem_zalloc(sizeof *client);
    if (!client)
        return NULL;
    if (!hub)
        hub = getenv("PENSTOCK_HUB");
    if (!key)
        key = getenv("PENSTOCK_KEY");
    client->hub = text_copy(hub && hub[0] ? hub : CLIENT_HUB_DEFAULT);
    client->key = text_copy(key ? key : "");
    client->curl = curl_easy_init();
    client->parser = json_parser_create();
    buf_init(&client->body, CLIENT_ANSWER_MAX);
    if (!client->hub || !client->key || !client->curl || !client->parser) {
        client_destroy(client);
        return NULL;
    }
    for (size_t len = strlen(client->hub); len > 0 && client->hub[len - 1] == '/'; len--)
        client->hub[len - 1] = '\0';
    return client;
}

void client_destroy(struct client *client) {
    if (!client)
        return;
    if (client->curl)
        curl_easy_cleanup(client->curl);
    if (client->parser)
        json_parser_destroy(client->parser);
    buf_free(&client->body);
    mem_free(client->hub);
    mem_free(client->key);
    mem_free(client);
}

const char *client_hub(const struct client *client) { return client->hub; }

struct client *cli_client(const struct cli *cli) {
    struct client *client = client_create(cli_value(cli, "hub"), cli_value(cli, "key"));
    if (!client)
        cli_fail(cli, EXIT_FAILED, "out of memory");
    return client;
}

void client_encode(struct buf *out, struct str text) {
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            buf_char(out, (char)c);
        } else {
            buf_char(out, '%');
            buf_char(out, digits[c >> 4]);
            buf_char(out, digits[c & 15]);
        }
    }
}

/* --- one call --------------------------------------------------------------------------- */

static size_t body_take(char *data, size_t size, size_t count, void *ctx) {
    struct client *client = ctx;
    buf_add(&client->body, data, size * count);
    return buf_ok(&client->body) ? size * count : 0;
}

static size_t header_take(char *data, size_t size, size_t count, void *ctx) {
    struct client *client = ctx;
    struct str value = str_of(data, size * count);
    struct str name = str_cut(&value, ':');
    while (value.len > 0 && (value.ptr[value.len - 1] == '\n' || value.ptr[value.len - 1] == '\r'))
        value.len--;
    value = str_trim(value);
    if (str_eq_nocase(name, STR("Idempotency-Replayed")))
        client->answer->replayed = str_eq(value, STR("true"));
    else if (str_eq_nocase(name, STR("Penstock-Seq")) && !str_u64(value, &client->answer->seq))
        client->answer->seq = 0;
    return size * count;
}

static bool header_add(struct curl_slist **list, const char *line) {
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer)
        *list = longer;
    return longer != NULL;
}

static bool headers_make(const struct client *client, const struct client_request *request,
                         struct arena *arena, struct curl_slist **list) {
    bool ok = header_add(list, "Expect:"); /* a body is sent at once, without asking first */
    if (client->key[0] != '\0') {
        struct str line = arena_printf(arena, "Authorization: Bearer %s", client->key);
        ok = ok && line.ptr && header_add(list, line.ptr);
    }
    if (request->body.ptr) {
        struct str line = arena_printf(arena, "Content-Type: %s",
                                       request->media ? request->media : "application/json");
        ok = ok && line.ptr && header_add(list, line.ptr);
    }
    for (const char *const *h = request->headers; h && *h; h++)
        ok = ok && header_add(list, *h);
    return ok;
}

static void options_set(struct client *client, const struct client_request *request,
                        const char *url, struct curl_slist *headers) {
    CURL *curl = client->curl;
    const char *method = request->method ? request->method : "GET";
    curl_easy_reset(curl); /* keeps connections and caches */
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (getenv("PENSTOCK_CA_FILE")) /* whom to trust in place of those the system does */
        curl_easy_setopt(curl, CURLOPT_CAINFO, getenv("PENSTOCK_CA_FILE"));
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_TIMEOUT_MS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                     request->timeout_ms > 0 ? request->timeout_ms : TIMEOUT_DEFAULT_MS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, body_take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, client);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, header_take);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, client);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    if (request->body.ptr) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body.ptr);
    }
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

enum err client_call(struct client *client, const struct client_request *request,
                     struct arena *arena, struct client_answer *answer, struct fault *fault) {
    struct curl_slist *headers = NULL;
    *answer = (struct client_answer){0};
    client->answer = answer;
    buf_clear(&client->body);
    struct str url = arena_printf(arena, "%s%s", client->hub, request->path);
    if (!url.ptr || !headers_make(client, request, arena, &headers)) {
        curl_slist_free_all(headers);
        return fault_set(fault, ERR_NOMEM, "out of memory");
    }
    options_set(client, request, url.ptr, headers);
    CURLcode code = curl_easy_perform(client->curl);
    curl_slist_free_all(headers);
    if (code == CURLE_OPERATION_TIMEDOUT)
        return fault_set(fault, ERR_UPSTREAM_TIMEOUT, "%s did not answer in time", client->hub);
    if (code != CURLE_OK)
        return fault_set(fault, ERR_UPSTREAM, "%s: %s", client->hub, curl_easy_strerror(code));
    long status = 0;
    curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
    answer->status = (int)status;
    answer->body = arena_str(arena, buf_str(&client->body));
    if (!answer->body.ptr)
        return fault_set(fault, ERR_NOMEM, "the answer is too large");
    struct fault ignored = {0};
    if (json_parse(client->parser, arena, answer->body, false, &answer->json, &ignored) != OK)
        answer->json = NULL;
    return OK;
}

/* --- what the hub said ------------------------------------------------------------------ */

static enum err error_of_status(int status) {
    for (enum err err = OK + 1; err < ERR_COUNT; err++)
        if (err_info(err)->status == status)
            return err;
    return status >= 500 ? ERR_UPSTREAM : ERR_BAD_REQUEST;
}

enum err client_problem(const struct client_answer *answer, struct fault *fault) {
    const struct json *json = answer->json;
    enum err err = error_of_status(answer->status);
    if (!json || json->kind != JSON_OBJECT)
        return fault_set(fault, err, "the hub answered %d", answer->status);
    struct str title = json_member_str(json, STR("title"));
    struct str detail = json_member_str(json, STR("detail"));
    const struct json *errors = json_member(json, STR("errors"));
    if (errors && errors->kind == JSON_ARRAY && fault->arena) {
        const struct json *item = json_first(errors);
        for (uint32_t i = 0; i < errors->count; i++, item = json_next(item))
            if (item->kind == JSON_OBJECT)
                fault_add(fault, json_member_str(item, STR("pointer")), "%.*s",
                          STR_FMT(json_member_str(item, STR("detail"))));
    }
    return fault_set(fault, err, "%d %.*s%s%.*s", answer->status, STR_FMT(title),
                     title.len > 0 && detail.len > 0 ? ": " : "", STR_FMT(detail));
}

enum err client_get(struct client *client, const char *path, struct arena *arena,
                    struct client_answer *answer, struct fault *fault) {
    struct client_request request = {.path = path};
    enum err err = client_call(client, &request, arena, answer, fault);
    if (err != OK)
        return err;
    if (answer->status != 200)
        return client_problem(answer, fault);
    if (!answer->json)
        return fault_set(fault, ERR_UPSTREAM, "%s%s answered no JSON", client->hub, path);
    return OK;
}

bool client_waits(const struct cli *cli, const struct client_answer *answer) {
    struct str id = answer->json ? json_member_str(answer->json, STR("approval_id")) : STR_NONE;
    if (answer->status != 202 || id.len == 0)
        return false;
    fprintf(stderr, "penstock %s: not done yet: another person must approve it: penstock approvals "
                    "approve %.*s\n", cli->command->name, STR_FMT(id));
    return true;
}
