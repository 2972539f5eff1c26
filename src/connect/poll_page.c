/* poll_page: what an answer says: its items, how far they come, and where the next page is. */
#include <stdio.h>

#include "base/pan.h"
#include "connect/poll_priv.h"
#include "connect/receive.h"

#define WORDS_MAX 300

/* --- words ------------------------------------------------------------------------------- */

static struct str scalar(const struct json *value) {
    return value && (value->kind == JSON_STRING || value->kind == JSON_NUMBER) ? value->text
                                                                              : STR_NONE;
}

static struct str words_of(struct arena *arena, const struct json *doc, struct str body) {
    static const char *const members[] = {"/errors/0/message", "/error/message", "/errors/0/detail",
                                          "/message", "/detail", "/error", "/errors/0", "/title"};
    struct str words = STR_NONE;
    for (size_t i = 0; doc && !words.len && i < sizeof members / sizeof *members; i++)
        words = scalar(json_at(doc, str_c(members[i])));
    if (!words.len)
        words = body;
    if (words.len > WORDS_MAX)
        words.len = WORDS_MAX;
    words = arena_str(arena, words);
    for (size_t i = 0; i < words.len; i++)
        if ((unsigned char)words.ptr[i] < ' ')
            ((char *)(uintptr_t)words.ptr)[i] = ' ';
    if (words.len)
        pan_mask((char *)(uintptr_t)words.ptr, words.len);
    return words;
}

struct str page_words(struct poll_entry *entry, const struct net_answer *answer) {
    const struct json *doc = NULL;
    struct fault ignored = {0};
    if (answer->error != NET_OK)
        return arena_printf(&entry->arena, "%s: %s", net_error_name(answer->error), answer->detail);
    if (answer->body.len == 0 || answer->body.len > 65536 ||
        json_parse(entry->poller->parser, &entry->arena, answer->body, false, &doc, &ignored) != OK)
        doc = NULL;
    struct str words = words_of(&entry->arena, doc, answer->body);
    return arena_printf(&entry->arena, "status %d%s%.*s", answer->status, words.len ? ": " : "",
                        STR_FMT(words));
}

/* --- where the next page is ---------------------------------------------------------------- */

/* One link-value: its target where it is rel="next". */
static struct str link_next(struct str link) {
    const char *open = memchr(link.ptr, '<', link.len);
    const char *close = open ? memchr(open, '>', link.len - (size_t)(open - link.ptr)) : NULL;
    if (!close)
        return STR_NONE;
    struct str rest = str_of(close + 1, link.len - (size_t)(close + 1 - link.ptr));
    while (rest.ptr && rest.len > 0) {
        struct str param = str_cut(&rest, ';'), name = str_trim(str_cut(&param, '='));
        param = str_trim(param);
        if (param.len >= 2 && param.ptr[0] == '"')
            param = str_of(param.ptr + 1, param.len - 2);
        if (!str_eq_nocase(name, STR("rel")))
            continue;
        while (param.ptr && param.len > 0) /* rel="next last" */
            if (str_eq_nocase(str_cut(&param, ' '), STR("next")))
                return str_of(open + 1, (size_t)(close - open) - 1);
    }
    return STR_NONE;
}

struct str page_link_next(const struct net_answer *answer, struct arena *arena) {
    for (uint32_t i = 0; i < answer->header_count; i++) {
        struct str value = answer->headers[i].value;
        if (!str_eq_nocase(answer->headers[i].name, STR("Link")))
            continue;
        while (value.len > 0) { /* a comma ends a link only behind its target and its quotes */
            size_t end = 0;
            bool inside = false, quoted = false;
            for (; end < value.len && (inside || quoted || value.ptr[end] != ','); end++) {
                char c = value.ptr[end];
                inside = !quoted && (c == '<' || (inside && c != '>'));
                quoted = !inside && c == '"' ? !quoted : quoted;
            }
            struct str target = link_next(str_of(value.ptr, end));
            if (target.ptr)
                return arena_str(arena, target);
            end += end < value.len;
            value = str_of(value.ptr + end, value.len - end);
        }
    }
    return STR_NONE;
}

/* Bytes of "https://host:port". */
static size_t origin_len(struct str url) {
    const char *slashes = memmem(url.ptr, url.len, "://", 3);
    size_t at = slashes ? (size_t)(slashes - url.ptr) + 3 : url.len;
    while (at < url.len && !strchr("/?#", url.ptr[at]))
        at++;
    return at;
}

struct str page_resolve(struct str base, struct str target, struct arena *arena) {
    size_t origin = origin_len(base), path = origin;
    if (memmem(target.ptr, target.len, "://", 3) && target.ptr[0] != '/' && target.ptr[0] != '?') {
        bool same = origin_len(target) == origin &&
                    str_eq_nocase(str_of(base.ptr, origin), str_of(target.ptr, origin));
        return same ? arena_str(arena, target) : STR_NONE;
    }
    if (str_starts(target, STR("//")))
        return STR_NONE;
    if (target.len > 0 && target.ptr[0] == '/')
        return arena_printf(arena, "%.*s%.*s", (int)origin, base.ptr, STR_FMT(target));
    while (path < base.len && base.ptr[path] != '?' && base.ptr[path] != '#')
        path++;
    if (target.len == 0 || target.ptr[0] != '?')
        while (path > origin && base.ptr[path - 1] != '/')
            path--;
    return arena_printf(arena, "%.*s%s%.*s", (int)path, base.ptr,
                        path == origin && target.len && target.ptr[0] != '?' ? "/" : "",
                        STR_FMT(target));
}

static enum err keep(char *to, size_t max, struct str text, const char *what, struct fault *fault) {
    if (text.len > max)
        return fault_set(fault, ERR_INVALID, "the %s of the next page is longer than %zu bytes", what,
                         max);
    memcpy(to, text.ptr, text.len);
    to[text.len] = '\0';
    return OK;
}

static enum err next_url(struct poll_entry *entry, struct str target, struct fault *fault) {
    struct str url = target.len ? page_resolve(entry->page_url, target, &entry->arena) : STR_NONE;
    entry->more = target.len > 0;
    if (target.len && !url.ptr)
        return fault_set(fault, ERR_INVALID,
                         "the next page is at another address (%.*s), which does not get our "
                         "credentials",
                         (int)(target.len < 100 ? target.len : 100), target.ptr);
    if (entry->more && str_is(url, entry->url))
        return fault_set(fault, ERR_INVALID, "the answer names itself as its next page");
    return entry->more ? keep(entry->url, POLL_URL_MAX, url, "address", fault) : OK;
}

static enum err next_cursor(struct poll_entry *entry, struct str cursor, struct fault *fault) {
    entry->more = cursor.len > 0;
    if (!entry->more)
        return OK;
    if (str_is(cursor, entry->cursor))
        return fault_set(fault, ERR_INVALID, "the answer names itself as its next page");
    return keep(entry->cursor, POLL_CURSOR_MAX, cursor, "cursor", fault);
}

/* The next page begins with the last item of this one, so that it shows when items have moved. */
static void next_offset(struct poll_entry *entry, bool full) {
    uint32_t fresh = entry->item_count - entry->anchored;
    entry->more = fresh > 0 && full;
    if (entry->more)
        entry->offset += entry->item_count > 1 ? entry->item_count - 1 : 1;
}

static enum err next_watermark(struct poll_entry *entry, bool full, struct fault *fault) {
    const struct connector_watermark *how = entry->poll->watermark;
    entry->more = full && entry->item_count > 0 && mark_cmp(how, &entry->newest, &entry->from) > 0;
    if (entry->more || entry->item_count < entry->page_size || entry->pages == 0)
        return OK;
    return fault_set(fault, ERR_INVALID,
                     "%u items have the same %.*s: ask for larger pages, or page in another way",
                     entry->item_count, STR_FMT(how->member));
}

static enum err page_next(struct poll_entry *entry, const struct json *doc,
                          const struct net_answer *answer, struct fault *fault) {
    const struct connector_pages *pages = entry->poll->pages;
    /* who asks for more than the other side gives gets what it gives: a page is the last one only
     * where one before it was longer, or nothing is on it */
    bool full = entry->item_count >= entry->page_size || entry->item_count >= entry->largest;
    enum err err = OK;
    entry->more = false;
    switch ((enum page_style)pages->style) {
    case PAGES_NONE: break;
    case PAGES_LINK: err = next_url(entry, page_link_next(answer, &entry->arena), fault); break;
    case PAGES_URL: err = next_url(entry, scalar(json_at(doc, pages->next)), fault); break;
    case PAGES_CURSOR: err = next_cursor(entry, scalar(json_at(doc, pages->next)), fault); break;
    case PAGES_OFFSET: next_offset(entry, full); break;
    case PAGES_PAGE:
        entry->more = entry->item_count > 0 && full;
        entry->page += entry->more;
        break;
    case PAGES_WATERMARK: err = next_watermark(entry, full, fault); break;
    }
    const struct json *more = pages->more.len ? json_at(doc, pages->more) : NULL;
    if (more && more->kind == JSON_BOOL && more->count == 0)
        entry->more = false;
    if (entry->item_count > entry->largest)
        entry->largest = entry->item_count;
    return err;
}

/* --- its items ----------------------------------------------------------------------------- */

/* How far the items come; whether they come in order. */
static enum err page_marks(struct poll_entry *entry, struct fault *fault) {
    const struct connector_watermark *how = entry->poll->watermark;
    struct connector_place place = {.member = how ? how->member : STR_NONE};
    const struct json *item = entry->items ? json_first(entry->items) : NULL;
    struct poll_mark before = {0}, mark;
    uint32_t objects = 0, found = 0;
    for (uint32_t i = 0; how && i < entry->item_count; i++, item = json_next(item)) {
        objects += item->kind == JSON_OBJECT;
        if (!mark_read(how, receive_member(&place, item, false, &entry->arena), &mark))
            continue;
        found++;
        if (mark_cmp(how, &mark, &before) < 0)
            entry->unsorted = true;
        if (mark_cmp(how, &mark, &entry->newest) > 0)
            entry->newest = mark;
        if (how->type == MARK_TIME && entry->pages > 0 && mark.number >= entry->partner_us)
            entry->shifted = true; /* changed since this round began */
        before = mark;
    }
    if (objects > 0 && found == 0)
        return fault_set(fault, ERR_INVALID, "no item has a %s as %.*s, the watermark",
                         how->type == MARK_TIME ? "time" : how->type == MARK_NUMBER ? "whole number"
                                                                                     : "text",
                         STR_FMT(how->member));
    return OK;
}

static bool is_error(const struct json *value) {
    return value && value->kind != JSON_NULL && !(value->kind == JSON_BOOL && value->count == 0) &&
           !((value->kind == JSON_ARRAY || value->kind == JSON_OBJECT) && value->count == 0) &&
           !(value->kind == JSON_STRING && value->text.len == 0);
}

static enum err items_find(struct poll_entry *entry, const struct json *doc, struct str body,
                           struct fault *fault) {
    const struct connector_poll *poll = entry->poll;
    const struct json *items = json_at(doc, poll->items);
    struct str words = words_of(&entry->arena, doc, body);
    if (poll->error.len && is_error(json_at(doc, poll->error)))
        return fault_set(fault, ERR_INVALID, "the answer says it failed: %.*s", STR_FMT(words));
    if (!items)
        return fault_set(fault, ERR_INVALID, "the answer has no %.*s, where its items should be: %.*s",
                         STR_FMT(poll->items), STR_FMT(words));
    if (items->kind != JSON_ARRAY && items->kind != JSON_NULL)
        return fault_set(fault, ERR_INVALID, "%.*s of the answer is no list",
                         STR_FMT(poll->items.len ? poll->items : STR("the top")));
    entry->items = items->kind == JSON_ARRAY ? items : NULL;
    entry->item_count = entry->items ? items->count : 0;
    entry->next_item = entry->items ? json_first(items) : NULL;
    return OK;
}

/* Pages by offset overlap by one item: where that is another one than it was, items have moved, and one
 * may have slipped from the next page onto the last. */
static bool page_moved(struct poll_entry *entry) {
    entry->anchored = entry->moved = false;
    if (!entry->anchor)
        return false;
    entry->anchored = entry->item_count > 0 &&
                      hash128_eq(item_identity(entry, entry->next_item), entry->last_item);
    entry->moved = !entry->anchored;
    return entry->moved;
}

enum err page_read(struct poll_entry *entry, const struct net_answer *answer, struct fault *fault) {
    struct poller *poller = entry->poller;
    const struct json *doc;
    entry->items = entry->next_item = NULL;
    entry->item_count = entry->item_at = 0;
    entry->more = false;
    if (answer->status == 204)
        return OK;
    struct str body = arena_str(&entry->arena, answer->body); /* the answer's ends with the call */
    enum err err = body.ptr ? json_parse(poller->parser, &entry->arena, body, false, &doc, fault)
                            : fault_set(fault, ERR_NOMEM, "no memory for an answer");
    if (err == ERR_MALFORMED)
        return fault_set(fault, ERR_INVALID, "the answer is no JSON: %.*s",
                         (int)(body.len < 100 ? body.len : 100), body.ptr);
    if (!err && entry->poll->answer_source)
        err = mapper_run(poller->mapper, entry->poll->answer_source, doc, &entry->arena, &doc, fault);
    if (!err)
        err = items_find(entry, doc, body, fault);
    if (!err && page_moved(entry))
        return OK;
    if (!err)
        err = page_marks(entry, fault);
    return err ? err : page_next(entry, doc, answer, fault);
}
