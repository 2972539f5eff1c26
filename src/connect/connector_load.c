/* connector_load: reading one connector.yaml: decoded by its tables, then references resolved,
 * defaults filled in, mappings compiled. Every fault is reported with file and line; what is
 * merely not set (a secret) is noted and makes only its own topic or subscription unusable. */
#include <stdio.h>
#include <stdlib.h>

#include "base/files.h"
#include "base/mem.h"
#include "connect/connector_files.h"
#include "connect/connector_poll.h"
#include "connect/connector_priv.h"
#include "connect/connector_streams.h"
#include "connect/signature.h"

#define SECRETS_MAX 8

struct str load_pointer(struct loader *l, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return arena_str(l->arena, str_c(text));
}

/* --- references ------------------------------------------------------------------------ */

void load_note_missing(struct buf *to, const char *kind, struct str name) {
    char one[300];
    int n = snprintf(one, sizeof one, "%s %.*s", kind, STR_FMT(name));
    if (to->len > 0 && memmem(to->data, to->len, one, (size_t)n))
        return;
    buf_printf(to, "%s%s", to->len ? ", " : "", one);
}

static bool read_secret_file(struct str path, struct buf *out) {
    char name[4096];
    if (path.len >= sizeof name)
        return false;
    memcpy(name, path.ptr, path.len);
    name[path.len] = '\0';
    FILE *file = fopen(name, "rbe");
    if (!file)
        return false;
    char part[4096];
    size_t n, from = out->len;
    while ((n = fread(part, 1, sizeof part, file)) > 0)
        buf_add(out, part, n);
    bool good = !ferror(file) && buf_ok(out);
    fclose(file);
    while (out->len > from && (out->data[out->len - 1] == '\n' || out->data[out->len - 1] == '\r'))
        out->len--;
    return good && out->len > from;
}

/* ${env:NAME} or ${env:NAME:-text}; false where it is not set. An empty value is not set. */
static bool resolve_env(struct str what, struct buf *out, struct buf *missing) {
    char name[256];
    const char *dash = memmem(what.ptr, what.len, ":-", 2);
    struct str variable = dash ? str_of(what.ptr, (size_t)(dash - what.ptr)) : what;
    if (variable.len == 0 || variable.len >= sizeof name)
        return false;
    memcpy(name, variable.ptr, variable.len);
    name[variable.len] = '\0';
    const char *value = getenv(name);
    if (value && *value) {
        buf_str_add(out, str_c(value));
        return true;
    }
    if (dash) {
        buf_str_add(out, str_of(dash + 2, what.len - variable.len - 2));
        return true;
    }
    load_note_missing(missing, "env", variable);
    return false;
}

/* So that a change of the file is seen. */
static void file_note(struct loader *l, struct str path) {
    struct connector_file *file = arena_new(l->arena, struct connector_file);
    if (!file)
        return;
    file->path = arena_printf(l->arena, "%.*s", STR_FMT(path));
    file->next = l->own->files;
    l->own->files = file;
}

/* One reference, without its ${ and }. False where what it names is not set; what is wrong with
 * it is a fault. */
static bool resolve_one(struct loader *l, struct str what, struct buf *out, bool *secret,
                        struct buf *missing, struct str pointer) {
    struct str rest = what;
    struct str kind = str_cut(&rest, ':');
    if (rest.ptr && str_is(kind, "env")) {
        *secret = true;
        return resolve_env(rest, out, missing);
    }
    if (rest.ptr && str_is(kind, "file")) {
        *secret = true;
        file_note(l, rest);
        if (read_secret_file(rest, out))
            return true;
        load_note_missing(missing, "file", rest);
        return false;
    }
    if (rest.ptr && str_is(kind, "setting")) {
        const struct json *value = l->settings ? json_member(l->settings, rest) : NULL;
        if (!value)
            yaml_fault(&l->yaml, l->fault, pointer, "there is no setting \"%.*s\"", STR_FMT(rest));
        else if (value->kind == JSON_STRING || value->kind == JSON_NUMBER)
            buf_str_add(out, value->text);
        else if (value->kind == JSON_NULL)
            load_note_missing(missing, "setting", rest);
        else
            yaml_fault(&l->yaml, l->fault, pointer, "the setting \"%.*s\" is no text",
                       STR_FMT(rest));
        return value && (value->kind == JSON_STRING || value->kind == JSON_NUMBER);
    }
    yaml_fault(&l->yaml, l->fault, pointer,
               "${%.*s} is none of ${env:NAME}, ${file:PATH}, ${setting:NAME}", STR_FMT(what));
    return false;
}

static void print_add(struct loader *l, struct str text) {
    l->own->print = hash128(text, l->own->print.lo ^ l->own->print.hi);
}

struct resolved load_text(struct loader *l, struct str in, struct buf *missing,
                               struct str pointer) {
    struct resolved r = {.text = STR_NONE};
    struct buf out;
    bool good = true;
    buf_init(&out, LOAD_TEXT_BYTES_MAX);
    while (in.len > 0) {
        const char *open = memmem(in.ptr, in.len, "${", 2);
        size_t plain = open ? (size_t)(open - in.ptr) : in.len;
        buf_add(&out, in.ptr, plain);
        in = str_of(in.ptr + plain, in.len - plain);
        if (!open)
            break;
        const char *close = memchr(in.ptr, '}', in.len);
        if (!close) {
            yaml_fault(&l->yaml, l->fault, pointer, "a \"${\" without its \"}\"");
            good = false;
            break;
        }
        size_t len = (size_t)(close - in.ptr);
        good = resolve_one(l, str_of(in.ptr + 2, len - 2), &out, &r.secret, missing, pointer) &&
               good;
        in = str_of(close + 1, in.len - len - 1);
    }
    if (good && !buf_ok(&out)) {
        yaml_fault(&l->yaml, l->fault, pointer, "longer than %d bytes", LOAD_TEXT_BYTES_MAX);
        good = false;
    }
    if (good)
        r.text = arena_str(l->arena, out.len ? buf_str(&out) : STR(""));
    print_add(l, good ? r.text : STR("?"));
    buf_free(&out);
    return r;
}

/* --- settings -------------------------------------------------------------------------- */

/* Two objects: all settings resolved, and those that mappings may read. */
static enum err load_settings(struct loader *l) {
    const struct json *from = l->connector->settings_open;
    if (!from || from->kind == JSON_NULL)
        return OK;
    if (from->kind != JSON_OBJECT) {
        yaml_fault(&l->yaml, l->fault, STR("/settings"), "must be an object");
        return OK;
    }
    struct json *all = arena_array(l->arena, from->next, sizeof *all);
    struct json *open = arena_array(l->arena, from->next, sizeof *open);
    if (!all || !open)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    uint32_t a = 1, o = 1, members = 0;
    const struct json *name = json_first(from);
    for (uint32_t i = 0; i < from->count; i++) {
        const struct json *value = json_next(name);
        memcpy(all + a, name, (1 + value->next) * sizeof *all);
        bool secret = false;
        if (value->kind == JSON_STRING) {
            struct resolved r = load_text(l, value->text, &l->missing,
                                        load_pointer(l, "/settings/%.*s", STR_FMT(name->text)));
            all[a + 1] = (struct json){r.text, 0, 1, r.text.ptr ? JSON_STRING : JSON_NULL};
            secret = r.secret;
        }
        if (!secret) {
            memcpy(open + o, all + a, (1 + value->next) * sizeof *open);
            o += 1 + value->next;
            members++;
        }
        a += 1 + value->next;
        name = json_next(value);
    }
    all[0] = (struct json){STR_NONE, from->count, a, JSON_OBJECT};
    open[0] = (struct json){STR_NONE, members, o, JSON_OBJECT};
    l->settings = all;
    l->connector->settings = open;
    return OK;
}

/* --- what comes in --------------------------------------------------------------------- */

void load_mapping(struct loader *l, struct str file, struct str pointer,
                  const struct mapping_source **out) {
    if (!file.len)
        return;
    if (file.len < 5 || memcmp(file.ptr + file.len - 4, ".lua", 4) != 0 || file.ptr[0] == '/' ||
        memmem(file.ptr, file.len, "..", 2)) {
        yaml_fault(&l->yaml, l->fault, pointer, "must be a .lua file of the connector's folder");
        return;
    }
    struct str name = arena_printf(l->arena, "%.*s/%.*s", STR_FMT(l->connector->name),
                                   STR_FMT(file));
    struct str path = arena_printf(l->arena, "%.*s/%.*s", STR_FMT(l->connector->dir),
                                   STR_FMT(file));
    struct fault fault = {0};
    if (mapping_sources_add(l->own->sources, name, l->connector->version,
                            path.ptr ? path.ptr : "", l->connector->settings, out, &fault) != OK)
        yaml_fault(&l->yaml, l->fault, pointer, "%s", fault.detail);
    else
        l->own->content = hash128((*out)->code, l->own->content.lo ^ l->own->content.hi);
}

static void load_secrets(struct loader *l, struct connector_signature *signature, uint32_t topic) {
    const struct json *from = signature->secret_open;
    if (signature->scheme == SIGNATURE_NONE)
        return;
    bool list = from && from->kind == JSON_ARRAY;
    uint32_t count = !from ? 0 : list ? from->count : 1;
    struct str pointer = load_pointer(l, "/receive/%u/signature/secret", topic);
    if (count == 0 || count > SECRETS_MAX) {
        yaml_fault(&l->yaml, l->fault, pointer, "one secret, or a list of at most %d, is needed",
                   SECRETS_MAX);
        return;
    }
    signature->secrets = arena_array(l->arena, count, sizeof *signature->secrets);
    const struct json *value = list ? json_first(from) : from;
    for (uint32_t i = 0; i < count && signature->secrets; i++) {
        if (value->kind != JSON_STRING || !memmem(value->text.ptr, value->text.len, "${", 2)) {
            yaml_fault(&l->yaml, l->fault, pointer,
                       "secrets are not kept in files of the configuration: name one as "
                       "${env:NAME} or ${file:PATH}");
            return;
        }
        struct resolved r = load_text(l, value->text, &l->missing, pointer);
        const char *wrong = r.text.len > 0 ? signature_secret_wrong(
                                                 (enum signature_scheme)signature->scheme, r.text)
                                           : NULL;
        if (wrong)
            yaml_fault(&l->yaml, l->fault, pointer, "%.*s %s", STR_FMT(value->text), wrong);
        else if (r.text.len > 0)
            signature->secrets[signature->secret_count++] = r.text;
        value = json_next(value);
    }
}

static void load_signature(struct loader *l, struct connector_signature *signature,
                           uint32_t topic) {
    enum signature_scheme scheme = (enum signature_scheme)signature->scheme;
    load_secrets(l, signature, topic);
    if (signature_needs_header(scheme) && !signature->header.len)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/receive/%u/signature/header", topic),
                   "is needed for this scheme");
    struct str at = load_pointer(l, "/receive/%u/signature/url", topic);
    if (scheme == SIGNATURE_SQUARE && !signature->url.len)
        yaml_fault(&l->yaml, l->fault, at, "is needed for this scheme");
    signature->url = load_text(l, signature->url, &l->missing, at).text;
    if (signature->tolerance_s == 0)
        signature->tolerance_s = 300;
    l->own->replays = l->own->replays || signature->replay_window_s > 0;
}

static void check_place(struct loader *l, const struct connector_place *place, const char *what,
                        uint32_t topic) {
    if (place && shape_has(place, PLACE_HEADER) == shape_has(place, PLACE_MEMBER))
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/receive/%u/%s", topic, what),
                   "either header or member");
}

static void load_receive(struct loader *l, uint32_t i) {
    struct connector_receive *receive = list_at(l->connector->receive, struct connector_receive, i);
    struct connector_signature *signature = receive->signature;
    receive->line = yaml_line(&l->yaml, load_pointer(l, "/receive/%u/command", i));
    for (uint32_t k = 0; k < i; k++) {
        if (str_eq(list_at(l->connector->receive, struct connector_receive, k)->topic,
                   receive->topic))
            yaml_fault(&l->yaml, l->fault, load_pointer(l, "/receive/%u/topic", i),
                       "the topic is there twice");
    }
    check_place(l, receive->dedup, "dedup", i);
    check_place(l, receive->key, "key", i);
    check_place(l, receive->version, "version", i);
    if (receive->version && !receive->key)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/receive/%u/version", i),
                   "needs a key: it is the version of what the key names");
    if (!receive->command.len == !receive->commands.count)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/receive/%u/command", i),
                   "is needed, or commands in its place, where the mapping says which with route()");
    load_expect(l, receive->expect, load_pointer(l, "/receive/%u/expect", i));
    load_signature(l, signature, i);
    load_mapping(l, receive->mapping, load_pointer(l, "/receive/%u/mapping", i), &receive->source);
}

/* --- what goes out --------------------------------------------------------------------- */

static bool header_value_good(struct str value) {
    for (size_t i = 0; i < value.len; i++) {
        if ((unsigned char)value.ptr[i] < 0x20 && value.ptr[i] != '\t')
            return false;
    }
    return true;
}

void load_request(struct loader *l, struct connector_request *request, const char *method,
                         struct buf *missing, struct str pointer) {
    if (!request->method.len)
        request->method = str_c(method);
    request->url = load_text(l, request->url, missing,
                           load_pointer(l, "%.*s/url", STR_FMT(pointer))).text;
    const struct json *from = request->headers_open;
    if (!from || from->kind == JSON_NULL)
        return;
    struct str at = load_pointer(l, "%.*s/headers", STR_FMT(pointer));
    if (from->kind != JSON_OBJECT || from->count > LOAD_HEADERS_MAX) {
        yaml_fault(&l->yaml, l->fault, at, "must be an object of at most %d texts", LOAD_HEADERS_MAX);
        return;
    }
    request->headers = arena_array(l->arena, from->count, sizeof *request->headers);
    const struct json *name = json_first(from);
    for (uint32_t i = 0; i < from->count && request->headers; i++) {
        const struct json *value = json_next(name);
        struct resolved r = {0};
        if (value->kind == JSON_STRING || value->kind == JSON_NUMBER)
            r = load_text(l, value->text, missing, at);
        else
            yaml_fault(&l->yaml, l->fault, at, "%.*s must be a text", STR_FMT(name->text));
        if (r.text.ptr && !header_value_good(r.text))
            yaml_fault(&l->yaml, l->fault, at, "%.*s has control characters", STR_FMT(name->text));
        if (r.text.ptr)
            request->headers[request->header_count++] =
                (struct connector_header){name->text, r.text};
        name = json_next(value);
    }
}

static void load_lookup(struct loader *l, struct connector_lookup *lookup, struct buf *missing,
                        struct str pointer) {
    lookup->request = (struct connector_request){
        .method = lookup->method, .url = lookup->url, .headers_open = lookup->headers_open};
    load_request(l, &lookup->request, "GET", missing, pointer);
    if (!lookup->settle_ms)
        lookup->settle_ms = 2000;
}

/* A copy whose texts have their references replaced. Absent where one is not set. */
struct str load_document(struct loader *l, const struct json *from, struct buf *missing,
                         struct str pointer) {
    struct json *copy = arena_array(l->arena, from->next, sizeof *copy);
    bool good = copy != NULL;
    for (uint32_t i = 0; good && i < from->next; i++) {
        copy[i] = from[i];
        if (copy[i].kind != JSON_STRING || !memmem(copy[i].text.ptr, copy[i].text.len, "${", 2))
            continue;
        copy[i].text = load_text(l, copy[i].text, missing, pointer).text;
        good = copy[i].text.ptr != NULL;
    }
    struct buf out;
    buf_init(&out, LOAD_TEXT_BYTES_MAX);
    if (good)
        json_write(&out, copy);
    struct str text = good && buf_ok(&out) ? arena_str(l->arena, buf_str(&out)) : STR_NONE;
    if (good && !buf_ok(&out))
        yaml_fault(&l->yaml, l->fault, pointer, "longer than %d bytes", LOAD_TEXT_BYTES_MAX);
    buf_free(&out);
    return text;
}

/* A script says by itself what is looked up, and where the system's number is. */
static void load_script(struct loader *l, struct connector_send *send, uint32_t i) {
    struct str at = load_pointer(l, "/send/%u/script", i);
    if (!send->script.len) {
        if (send->settle_ms && !send->batch && !send->conflate)
            yaml_fault(&l->yaml, l->fault, load_pointer(l, "/send/%u/settle_ms", i),
                       "belongs to a script, a batch or conflate; of a look-up it stands in `lookup`");
        return;
    }
    if (send->mapping.len || send->lookup || send->reference.len)
        yaml_fault(&l->yaml, l->fault, at,
                   "stands in place of mapping, lookup and reference: it says them itself");
    if (!send->settle_ms)
        send->settle_ms = 2000;
    load_mapping(l, send->script, at, &send->source);
}

static enum err load_send(struct loader *l, uint32_t i) {
    struct connector_send *send = list_at(l->connector->send, struct connector_send, i);
    struct buf missing;
    buf_init(&missing, LOAD_TEXT_BYTES_MAX);
    send->connector = l->connector;
    if (!shape_has(send, SEND_ENABLED))
        send->enabled = true;
    send->line = yaml_line(&l->yaml, load_pointer(l, "/send/%u/subscription", i));
    for (uint32_t k = 0; k < i; k++) {
        if (str_eq(list_at(l->connector->send, struct connector_send, k)->subscription,
                   send->subscription))
            yaml_fault(&l->yaml, l->fault, load_pointer(l, "/send/%u/subscription", i),
                       "the subscription is there twice");
    }
    if (!send->outcome)
        send->outcome = arena_new(l->arena, struct connector_outcome);
    if (!send->retry)
        send->retry = arena_new(l->arena, struct connector_retry);
    if (!send->limits)
        send->limits = arena_new(l->arena, struct connector_limits);
    if (!send->outcome || !send->retry || !send->limits)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    load_request(l, send->request, "POST", &missing, load_pointer(l, "/send/%u/request", i));
    if (send->lookup)
        load_lookup(l, send->lookup, &missing, load_pointer(l, "/send/%u/lookup", i));
    if (stream_url_is(send->request->url, NULL))
        load_stream_send(l, send, i);
    enum err err = load_outcome(l, send->outcome, load_pointer(l, "/send/%u/outcome", i));
    if (err == OK)
        err = load_retry(l, send->retry);
    if (err != OK)
        return err;
    if (!shape_has(send, SEND_PRIORITY))
        send->priority = load_priority_of(*list_at(send->events, struct str, 0));
    if (!send->limits->concurrency)
        send->limits->concurrency = 4;
    if (!send->timeout_ms)
        send->timeout_ms = 10000;
    load_mapping(l, send->mapping, load_pointer(l, "/send/%u/mapping", i), &send->source);
    load_script(l, send, i);
    load_batch(l, send, &missing, load_pointer(l, "/send/%u", i));
    load_expect(l, send->expect, load_pointer(l, "/send/%u/expect", i));
    if (load_stop(l, send, i) != OK)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    load_note_auth(l, &missing);
    if (missing.len > 0) {
        send->missing = arena_str(l->arena, buf_str(&missing));
        if (send->enabled) /* off is not incomplete */
            load_note_missing(&l->missing, "for", send->subscription);
    }
    buf_free(&missing);
    return OK;
}

/* --- files ----------------------------------------------------------------------------- */

/* All that comes in, under its topic. */
static enum err load_taken(struct loader *l) {
    struct connector *connector = l->connector;
    uint32_t count = connector->receive.count + connector->poll.count + connector->files.count +
                     connector->streams.count;
    connector->taken = arena_array(l->arena, count + 1, sizeof *connector->taken);
    if (!connector->taken)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    for (uint32_t i = 0; i < connector->receive.count; i++)
        connector->taken[connector->taken_count++] =
            list_at(connector->receive, struct connector_receive, i);
    for (uint32_t i = 0; i < connector->poll.count; i++)
        connector->taken[connector->taken_count++] =
            &list_at(connector->poll, struct connector_poll, i)->take;
    for (uint32_t i = 0; i < connector->files.count; i++)
        connector->taken[connector->taken_count++] =
            &list_at(connector->files, struct connector_files, i)->take;
    for (uint32_t i = 0; i < connector->streams.count; i++)
        connector->taken[connector->taken_count++] =
            &list_at(connector->streams, struct connector_stream, i)->take;
    return OK;
}

static enum err load_parts(struct loader *l) {
    enum err err = load_settings(l);
    if (err == OK)
        err = load_auth(l);
    if (err == OK)
        err = load_account(l);
    for (uint32_t i = 0; err == OK && i < l->connector->receive.count; i++)
        load_receive(l, i);
    if (err == OK)
        err = load_polls(l);
    if (err == OK)
        err = load_files(l);
    if (err == OK)
        err = load_streams(l);
    for (uint32_t i = 0; err == OK && i < l->connector->send.count; i++)
        err = load_send(l, i);
    if (err == OK)
        err = load_taken(l);
    if (err == OK)
        err = load_operations(l);
    if (err == OK && l->missing.len > 0)
        l->connector->missing = arena_str(l->arena, buf_str(&l->missing));
    return err;
}

/* What the file says, whatever its layout and comments. */
static void content_begin(struct loader *l) {
    struct buf text;
    buf_init(&text, 0);
    json_write(&text, l->yaml.root);
    l->own->content = hash128(buf_str(&text), 0);
    buf_free(&text);
}

/* Kept as it is: who takes this version may have to come back to it (roster.h). */
static enum err text_read(struct loader *l, const char *path) {
    struct buf text;
    buf_init(&text, YAML_BYTES_MAX);
    enum err err = files_read(path, &text, l->fault);
    l->own->text = err ? STR_NONE : arena_str(l->arena, text.len ? buf_str(&text) : STR(""));
    buf_free(&text);
    return err || l->own->text.ptr ? err : fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
}

static enum err load_all(struct loader *l, const char *dir, const char *name) {
    struct str folder = arena_printf(l->arena, "%s/connectors/%s", dir, name);
    struct str path = arena_printf(l->arena, "%.*s/connector.yaml", STR_FMT(folder));
    struct str shown = arena_printf(l->arena, "connectors/%s/connector.yaml", name);
    if (!path.ptr || !shown.ptr)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    enum err err = text_read(l, path.ptr);
    if (!err)
        err = yaml_parse(l->arena, shown, l->own->text, &l->yaml, l->fault);
    if (err)
        return err;
    struct fault found;
    void *doc;
    fault_init(&found, l->arena);
    err = shape_decode(&connector_shape, l->yaml.root, l->arena, STR(""), &doc, &found);
    yaml_faults(&l->yaml, &found, l->fault);
    if (err)
        return err;
    l->connector = doc;
    l->connector->own = l->own;
    l->connector->dir = folder;
    l->own->connector = l->connector;
    content_begin(l);
    if (!str_is(l->connector->name, name))
        yaml_fault(&l->yaml, l->fault, STR("/connector"), "must be the folder's name, \"%s\"", name);
    buf_init(&l->missing, LOAD_TEXT_BYTES_MAX);
    err = load_parts(l);
    buf_free(&l->missing);
    print_add(l, arena_printf(l->arena, "%016llx%016llx", (unsigned long long)l->own->content.hi,
                              (unsigned long long)l->own->content.lo));
    l->connector->hash = arena_printf(l->arena, "%012llx",
                                      (unsigned long long)(l->own->content.hi >> 16));
    return err;
}

enum err connector_load(const char *dir, const char *name, struct connector **out,
                        struct fault *fault) {
    struct connector_own *own = mem_zalloc(sizeof *own);
    if (!own)
        return fault_set(fault, ERR_NOMEM, "no memory for connectors");
    arena_init(&own->arena, 0);
    own->users = 1;
    own->sources = mapping_sources_create();
    own->counters = mem_zalloc(sizeof *own->counters);
    struct loader l = {.own = own, .arena = &own->arena, .fault = fault};
    uint32_t before = fault->count;
    uint64_t refused = mem_refused();
    enum err err = own->sources && own->counters
                       ? load_all(&l, dir, name)
                       : fault_set(fault, ERR_NOMEM, "no memory for a connector");
    if (own->counters)
        own->counters->versions = 1;
    if (mem_refused() != refused)
        err = fault_set(fault, ERR_NOMEM, "no memory for connector %s", name);
    if (!err && fault->count > before)
        err = fault_set(fault, ERR_INVALID, "connector %s has faults", name);
    if (err) {
        connector_own_free(own);
        return err;
    }
    l.connector->counters = own->counters;
    *out = l.connector;
    return OK;
}
