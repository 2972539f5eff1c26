/* poll_request: what is asked: placeholders in URL, headers and body, or a mapping that says it.
 *
 * {watermark} {cursor} {offset} {page} {page_size}, and of an item {item}, {item.a.b}. Other braces
 * stay: a GraphQL query is full of them. In a body, a text that is one placeholder and no more becomes
 * a number where the value is one, and null where there is none (a cursor on the first page). */
#include "connect/poll_priv.h"
#include "connect/receive.h"

struct place {
    const struct poll_entry *entry;
    const struct json *item; /* NULL: the request of a page */
    struct arena *arena;
};

static struct str number_text(struct arena *arena, int64_t n) {
    return arena_printf(arena, "%lld", (long long)n);
}

static bool has_overlap(const struct poll_entry *entry) {
    return entry->pages == 0 || entry->poll->pages->style != PAGES_WATERMARK;
}

static struct str watermark_text(const struct place *place) {
    const struct connector_watermark *how = place->entry->poll->watermark;
    struct buf out;
    if (!how)
        return STR("");
    buf_init(&out, 1024);
    mark_write(how, &place->entry->from, has_overlap(place->entry), &out);
    struct str text = arena_str(place->arena, buf_str(&out));
    buf_free(&out);
    return text;
}

/* The value of a name, or absent where the name is none. *number: it stands bare in JSON. */
static struct str place_text(const struct place *place, struct str name, bool *number) {
    const struct poll_entry *entry = place->entry;
    const struct connector_watermark *mark = entry->poll->watermark;
    *number = true;
    if (place->item && str_is(name, "item")) {
        *number = place->item->kind == JSON_NUMBER;
        bool scalar = *number || place->item->kind == JSON_STRING;
        return scalar ? place->item->text : STR("");
    }
    if (place->item && str_starts(name, STR("item."))) {
        struct connector_place member = {.member = str_of(name.ptr + 5, name.len - 5)};
        struct str value = receive_member(&member, place->item, false, place->arena);
        *number = false;
        return value.ptr ? value : STR("");
    }
    if (str_is(name, "page_size"))
        return number_text(place->arena, entry->page_size);
    if (str_is(name, "offset"))
        return number_text(place->arena, entry->offset);
    if (str_is(name, "page"))
        return number_text(place->arena, entry->page);
    *number = false;
    if (str_is(name, "cursor"))
        return str_c(entry->cursor);
    if (!str_is(name, "watermark"))
        return STR_NONE;
    *number = mark && (mark->type == MARK_NUMBER ||
                       (mark->type == MARK_TIME && (mark->format == MARK_SECONDS ||
                                                    mark->format == MARK_MILLISECONDS)));
    return watermark_text(place);
}

static bool unreserved(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static void add_value(struct buf *out, struct str value, bool url) {
    for (size_t i = 0; i < value.len; i++)
        if (!url || unreserved(value.ptr[i]))
            buf_char(out, value.ptr[i]);
        else
            buf_printf(out, "%%%02X", (unsigned char)value.ptr[i]);
}

static void expand(const struct place *place, struct str pattern, bool url, struct buf *out) {
    for (size_t i = 0; i < pattern.len; i++) {
        const char *end =
            pattern.ptr[i] == '{' ? memchr(pattern.ptr + i, '}', pattern.len - i) : NULL;
        bool number;
        struct str value = STR_NONE;
        if (end)
            value = place_text(
                place, str_of(pattern.ptr + i + 1, (size_t)(end - pattern.ptr) - i - 1), &number);
        if (!value.ptr) {
            buf_char(out, pattern.ptr[i]);
            continue;
        }
        i = (size_t)(end - pattern.ptr);
        add_value(out, value, url);
    }
}

static struct str expanded(const struct place *place, struct str pattern, bool url, size_t max) {
    struct buf out;
    buf_init(&out, max);
    expand(place, pattern, url, &out);
    struct str text = buf_ok(&out) ? arena_str(place->arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text;
}

/* A text of the body: in place. */
static bool node_expand(const struct place *place, struct json *node) {
    struct str text = node->text;
    bool number = false;
    if (!memchr(text.ptr, '{', text.len))
        return true;
    if (text.ptr[0] == '{' && text.ptr[text.len - 1] == '}' &&
        !memchr(text.ptr + 1, '{', text.len - 1)) {
        struct str value = place_text(place, str_of(text.ptr + 1, text.len - 2), &number);
        if (value.ptr) {
            *node = (struct json){value, 0, 1, number ? JSON_NUMBER : JSON_STRING};
            if (value.len == 0)
                *node = (struct json){STR_NONE, 0, 1, JSON_NULL};
            return true;
        }
    }
    node->text = expanded(place, text, false, 0);
    return node->text.ptr != NULL;
}

static enum err body_expand(const struct place *place, struct json_parser *parser, struct str body,
                            struct str *out, struct fault *fault) {
    const struct json *doc;
    if (!body.ptr)
        return OK;
    enum err err = json_parse(parser, place->arena, body, false, &doc, fault);
    struct json *copy = err ? NULL : arena_array(place->arena, doc->next, sizeof *copy);
    if (!copy)
        return err ? err : fault_set(fault, ERR_NOMEM, "no memory for a request");
    bool good = true;
    for (uint32_t i = 0; i < doc->next; i++) {
        copy[i] = doc[i];
        if (copy[i].kind == JSON_STRING)
            good = good && node_expand(place, &copy[i]);
    }
    struct buf text;
    buf_init(&text, 0);
    json_write(&text, copy);
    *out = good && buf_ok(&text) ? arena_str(place->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    return out->ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for a request");
}

/* Headers of the file, and those that go without saying. */
static bool headers_make(const struct place *place, const struct connector_request *how,
                         struct net_request *out) {
    struct net_header *headers = arena_array(place->arena, how->header_count + 2, sizeof *headers);
    bool typed = false, accepts = false;
    if (!headers)
        return false;
    for (uint32_t i = 0; i < how->header_count; i++) {
        struct str name = how->headers[i].name;
        struct str value = expanded(place, how->headers[i].value, false, POLL_URL_MAX);
        if (!value.ptr) /* without it, it would be another request */
            return false;
        headers[out->header_count++] = (struct net_header){name, value};
        typed = typed || str_eq_nocase(name, STR("Content-Type"));
        accepts = accepts || str_eq_nocase(name, STR("Accept"));
    }
    if (out->body.ptr && !typed)
        headers[out->header_count++] =
            (struct net_header){STR("Content-Type"), STR("application/json")};
    if (!accepts)
        headers[out->header_count++] = (struct net_header){STR("Accept"), STR("application/json")};
    out->headers = headers;
    return true;
}

static enum err request_make(const struct place *place, const struct connector_request *how,
                             struct str url, struct str body, struct net_request *out,
                             struct fault *fault) {
    const struct poller *poller = place->entry->poller;
    *out = (struct net_request){.connector = place->entry->poll->connector,
                                .outcome = place->entry->poll->outcome,
                                .flow = (struct net_flow *)(uintptr_t)&place->entry->flow,
                                .method = how->method, .url = url, .body = body,
                                .timeout_ms = place->entry->poll->timeout_ms,
                                .answer_bytes_max =
                                    (size_t)poller->options.config->settings.poll_answer_bytes_max};
    return url.ptr && headers_make(place, how, out)
               ? OK
               : fault_set(fault, ERR_NOMEM, "no memory for a request, or its address is too long");
}

/* With &name=value, or ?. */
static struct str with_param(struct arena *arena, struct str url, struct str name, struct str value) {
    struct buf out;
    buf_init(&out, POLL_URL_MAX);
    buf_str_add(&out, url);
    buf_char(&out, memchr(url.ptr, '?', url.len) ? '&' : '?');
    buf_str_add(&out, name);
    buf_char(&out, '=');
    add_value(&out, value, true);
    struct str text = buf_ok(&out) ? arena_str(arena, buf_str(&out)) : STR_NONE;
    buf_free(&out);
    return text;
}

static struct str page_url(const struct place *place) {
    const struct poll_entry *entry = place->entry;
    const struct connector_pages *pages = entry->poll->pages;
    bool following = entry->cursor[0] != '\0';
    if (entry->url[0])
        return arena_str(place->arena, str_c(entry->url));
    struct str url = expanded(
        place, following && pages->url.len ? pages->url : entry->poll->request.url, true,
        POLL_URL_MAX);
    return url.ptr && following && pages->param.len
               ? with_param(place->arena, url, pages->param, str_c(entry->cursor))
               : url;
}

/* --- by a mapping -------------------------------------------------------------------------- */

/* {"watermark":"2026-…","watermark_number":1795…,"cursor":null,"offset":0,"page":1,"page_size":100} */
static enum err progress_write(const struct place *place, const struct json **out,
                               struct fault *fault) {
    const struct poll_entry *entry = place->entry;
    struct buf text;
    buf_init(&text, 65536);
    buf_lit(&text, "{\"watermark\":");
    if (entry->poll->watermark && entry->from.known)
        buf_json_str(&text, watermark_text(place));
    else
        buf_lit(&text, "null");
    if (entry->poll->watermark)
        buf_printf(&text, ",\"watermark_number\":%lld",
                   (long long)mark_number(entry->poll->watermark, &entry->from, has_overlap(entry)));
    buf_lit(&text, ",\"cursor\":");
    if (entry->cursor[0])
        buf_json_str(&text, str_c(entry->cursor));
    else
        buf_lit(&text, "null");
    buf_printf(&text, ",\"offset\":%lld,\"page\":%lld,\"page_size\":%lld}", (long long)entry->offset,
               (long long)entry->page, (long long)entry->page_size);
    struct str copy = buf_ok(&text) ? arena_str(place->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    return copy.ptr ? json_parse(entry->poller->parser, place->arena, copy, false, out, fault)
                    : fault_set(fault, ERR_NOMEM, "no memory for a request");
}

static bool path_good(struct str path) {
    for (size_t i = 0; i < path.len; i++)
        if ((unsigned char)path.ptr[i] <= 0x20 || (unsigned char)path.ptr[i] >= 0x7f)
            return false;
    return path.len == 0 || path.ptr[0] == '/' || path.ptr[0] == '?';
}

static enum err request_mapped(const struct place *place, struct str *url, struct str *body,
                               struct fault *fault) {
    const struct poll_entry *entry = place->entry;
    const struct json *progress, *said;
    enum err err = progress_write(place, &progress, fault);
    if (!err)
        err = mapper_run(entry->poller->mapper, entry->poll->request_source, progress, place->arena,
                         &said, fault);
    if (err)
        return err;
    const struct json *document = said->kind == JSON_OBJECT ? json_member(said, STR("body")) : NULL;
    struct str path = said->kind == JSON_OBJECT ? json_member_str(said, STR("path")) : STR_NONE;
    if ((!document && !path.len) || !path_good(path))
        return fault_set(fault, ERR_INVALID,
                         "the request's mapping must answer {path = \"/…\", body = …}, one or both");
    if (path.len)
        *url = arena_printf(place->arena, "%.*s%.*s", STR_FMT(*url), STR_FMT(path));
    if (!document)
        return OK;
    struct buf text;
    buf_init(&text, 0);
    json_write(&text, document);
    *body = buf_ok(&text) ? arena_str(place->arena, buf_str(&text)) : STR_NONE;
    buf_free(&text);
    return body->ptr ? OK : fault_set(fault, ERR_NOMEM, "no memory for a request");
}

enum err request_page(struct poll_entry *entry, struct net_request *out, struct fault *fault) {
    struct place place = {.entry = entry, .arena = &entry->arena};
    struct str url = page_url(&place), body = STR_NONE;
    enum err err = body_expand(&place, entry->poller->parser, entry->poll->body, &body, fault);
    if (!err && entry->poll->request_source && url.ptr)
        err = request_mapped(&place, &url, &body, fault);
    if (err)
        return err;
    entry->page_url = url;
    return request_make(&place, &entry->poll->request, url, body, out, fault);
}

enum err request_detail(struct poll_slot *slot, struct net_request *out, struct fault *fault) {
    const struct connector_detail *detail = slot->entry->poll->detail;
    struct place place = {.entry = slot->entry, .item = slot->item, .arena = &slot->arena};
    struct str url = expanded(&place, detail->request.url, true, POLL_URL_MAX), body = STR_NONE;
    enum err err = body_expand(&place, slot->entry->poller->parser, detail->body, &body, fault);
    return err ? err : request_make(&place, &detail->request, url, body, out, fault);
}
