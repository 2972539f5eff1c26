/* pattern: the matcher. Backtracking, as the language of patterns demands; every item tried
 * costs a step, so the work is bounded by the caller's budget and the depth by a constant.
 * Once `state` is not PATTERN_FOUND nothing goes on. */
#include "map/pattern.h"

#include <ctype.h>

static const char *match(struct pattern *p, const char *s, const char *t);

static const char *pattern_stop(struct pattern *p, enum pattern_result why, const char *fault) {
    if (p->state == PATTERN_FOUND) {
        p->state = why;
        p->fault = fault;
    }
    return NULL;
}

static bool pattern_step(struct pattern *p) {
    if (p->state != PATTERN_FOUND)
        return false;
    if (*p->steps <= 0) {
        pattern_stop(p, PATTERN_STEPS, "the pattern takes too many steps");
        return false;
    }
    --*p->steps;
    return true;
}

static inline const char *subject_end(const struct pattern *p) {
    return p->subject.ptr + p->subject.len;
}
static inline const char *text_end(const struct pattern *p) { return p->text.ptr + p->text.len; }

/* Behind the set that opens at t ('['). */
static const char *set_end(struct pattern *p, const char *t) {
    const char *end = text_end(p);
    t++;
    if (t < end && *t == '^')
        t++;
    bool first = true;
    while (t < end && (first || *t != ']')) {
        first = false;
        if (*t == '%') {
            t++;
            if (t == end)
                return pattern_stop(p, PATTERN_BAD, "the pattern ends with '%'");
        }
        t++;
    }
    if (t >= end)
        return pattern_stop(p, PATTERN_BAD, "a '[' without its ']'");
    return t + 1;
}

/* Behind the single item at t: a character, '.', '%x' or a set. */
static const char *item_end(struct pattern *p, const char *t) {
    if (*t == '[')
        return set_end(p, t);
    if (*t != '%')
        return t + 1;
    if (t + 1 == text_end(p))
        return pattern_stop(p, PATTERN_BAD, "the pattern ends with '%'");
    return t + 2;
}

/* %a, %d … : in ASCII, whatever the locale is. */
static bool class_has(unsigned char class, unsigned char c) {
    bool in;
    switch (class | 0x20) {
    case 'a': in = (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; break;
    case 'c': in = c < 0x20 || c == 0x7f; break;
    case 'd': in = c >= '0' && c <= '9'; break;
    case 'g': in = c > 0x20 && c < 0x7f; break;
    case 'l': in = c >= 'a' && c <= 'z'; break;
    case 'p': in = c < 0x80 && ispunct(c); break;
    case 's': in = c == ' ' || (c >= '\t' && c <= '\r'); break;
    case 'u': in = c >= 'A' && c <= 'Z'; break;
    case 'w': in = c < 0x80 && isalnum(c); break;
    case 'x': in = c < 0x80 && isxdigit(c); break;
    default: return class == c; /* escaped punctuation and the like */
    }
    if ((class | 0x20) == class || class < 'A' || class > 'Z')
        return in;
    return !in;
}

/* Whether c is in the set from t ('[') to end (behind ']'). Well-formed: set_end said so. */
static bool set_has(struct pattern *p, const char *t, const char *end, unsigned char c) {
    bool negated = t[1] == '^';
    t += negated ? 2 : 1;
    end--; /* the ']' */
    while (t < end) {
        if (!pattern_step(p))
            return false;
        if (*t == '%') {
            if (class_has((unsigned char)t[1], c))
                return !negated;
            t += 2;
        } else if (end - t > 2 && t[1] == '-') {
            if ((unsigned char)*t <= c && c <= (unsigned char)t[2])
                return !negated;
            t += 3;
        } else {
            if ((unsigned char)*t == c)
                return !negated;
            t++;
        }
    }
    return negated;
}

/* Whether the item at t (ending at end) takes the character at s. */
static bool item_has(struct pattern *p, const char *s, const char *t, const char *end) {
    if (!pattern_step(p) || s >= subject_end(p))
        return false;
    unsigned char c = (unsigned char)*s;
    switch (*t) {
    case '.': return true;
    case '%': return class_has((unsigned char)t[1], c);
    case '[': return set_has(p, t, end, c);
    default: return (unsigned char)*t == c;
    }
}

/* As many as there are, then fewer until the rest matches. */
static const char *match_greedy(struct pattern *p, const char *s, const char *t, const char *end) {
    size_t n = 0;
    while (item_has(p, s + n, t, end))
        n++;
    for (;;) {
        if (p->state != PATTERN_FOUND)
            return NULL;
        const char *found = match(p, s + n, end + 1);
        if (found)
            return found;
        if (n-- == 0)
            return NULL;
    }
}

/* As few as the rest allows. */
static const char *match_lazy(struct pattern *p, const char *s, const char *t, const char *end) {
    for (;;) {
        const char *found = match(p, s, end + 1);
        if (found)
            return found;
        if (p->state != PATTERN_FOUND || !item_has(p, s, t, end))
            return NULL;
        s++;
    }
}

static const char *match_open(struct pattern *p, const char *s, const char *t, ptrdiff_t len) {
    if (p->level >= PATTERN_CAPTURES_MAX)
        return pattern_stop(p, PATTERN_BAD, "too many captures");
    p->captures[p->level] = (struct pattern_capture){s, len};
    p->level++;
    const char *found = match(p, s, t);
    if (!found)
        p->level--;
    return found;
}

static const char *match_close(struct pattern *p, const char *s, const char *t) {
    uint32_t i = p->level;
    while (i > 0 && p->captures[i - 1].len != PATTERN_CAPTURE_OPEN)
        i--;
    if (i == 0)
        return pattern_stop(p, PATTERN_BAD, "a ')' without its '('");
    struct pattern_capture *capture = &p->captures[i - 1];
    capture->len = s - capture->start;
    const char *found = match(p, s, t);
    if (!found)
        capture->len = PATTERN_CAPTURE_OPEN;
    return found;
}

/* %bxy: from x to the y that balances it. */
static const char *match_balance(struct pattern *p, const char *s, const char *t) {
    if (text_end(p) - t < 2)
        return pattern_stop(p, PATTERN_BAD, "%b needs two characters");
    if (s >= subject_end(p) || *s != t[0])
        return NULL;
    uint32_t open = 1;
    for (const char *at = s + 1; at < subject_end(p); at++) {
        if (!pattern_step(p))
            return NULL;
        if (*at == t[1]) {
            if (--open == 0)
                return at + 1;
        } else if (*at == t[0]) {
            open++;
        }
    }
    return NULL;
}

/* %f[set]: an empty match where the character before is not in the set and this one is. */
static bool match_frontier(struct pattern *p, const char *s, const char *t, const char *end) {
    unsigned char before = s == p->subject.ptr ? 0 : (unsigned char)s[-1];
    unsigned char here = s == subject_end(p) ? 0 : (unsigned char)*s;
    return !set_has(p, t, end, before) && set_has(p, t, end, here);
}

/* %1 … %9: what that capture took, again. */
static const char *match_again(struct pattern *p, const char *s, char digit) {
    uint32_t i = (uint32_t)(digit - '1');
    if (digit == '0' || i >= p->level || p->captures[i].len == PATTERN_CAPTURE_OPEN)
        return pattern_stop(p, PATTERN_BAD, "%1 to %9 name a capture that is not closed");
    if (p->captures[i].len < 0)
        return NULL;
    size_t len = (size_t)p->captures[i].len;
    *p->steps -= (int64_t)(len / 16);
    if ((size_t)(subject_end(p) - s) < len || memcmp(p->captures[i].start, s, len) != 0)
        return NULL;
    return s + len;
}

/* The items that '%' opens and that are not a class: true where t was one; then *s and *t are
 * behind it, or *s is NULL where it does not match. */
static bool match_special(struct pattern *p, const char **s, const char **t) {
    const char *end = text_end(p);
    if (*t + 1 == end)
        return false;
    char kind = (*t)[1];
    if (kind == 'b') {
        *s = match_balance(p, *s, *t + 2);
        *t += 4;
        return true;
    }
    if (kind == 'f') {
        if (*t + 2 == end || (*t)[2] != '[') {
            *s = pattern_stop(p, PATTERN_BAD, "%f needs a set behind it");
            return true;
        }
        const char *after = set_end(p, *t + 2);
        if (!after || !match_frontier(p, *s, *t + 2, after))
            *s = NULL;
        *t = after;
        return true;
    }
    if (kind >= '0' && kind <= '9') {
        *s = match_again(p, *s, kind);
        *t += 2;
        return true;
    }
    return false;
}

/* Matches from s with the pattern from t on; loops over what needs no way back. */
static const char *match_here(struct pattern *p, const char *s, const char *t) {
    const char *end = text_end(p);
    while (t < end) {
        if (!pattern_step(p))
            return NULL;
        if (*t == '(') {
            if (t + 1 < end && t[1] == ')')
                return match_open(p, s, t + 2, PATTERN_CAPTURE_POSITION);
            return match_open(p, s, t + 1, PATTERN_CAPTURE_OPEN);
        }
        if (*t == ')')
            return match_close(p, s, t + 1);
        if (*t == '$' && t + 1 == end)
            return s == subject_end(p) ? s : NULL;
        if (*t == '%' && match_special(p, &s, &t)) {
            if (!s || p->state != PATTERN_FOUND)
                return NULL;
            continue;
        }
        const char *after = item_end(p, t);
        if (!after)
            return NULL;
        char how = after < end ? *after : 0;
        if (how == '*')
            return match_greedy(p, s, t, after);
        if (how == '-')
            return match_lazy(p, s, t, after);
        bool has = item_has(p, s, t, after);
        if (how == '+')
            return has ? match_greedy(p, s + 1, t, after) : NULL;
        if (how == '?') {
            const char *found = has ? match(p, s + 1, after + 1) : NULL;
            if (found)
                return found;
            t = after + 1;
            continue;
        }
        if (!has)
            return NULL;
        s++;
        t = after;
    }
    return s;
}

static const char *match(struct pattern *p, const char *s, const char *t) {
    if (p->state != PATTERN_FOUND)
        return NULL;
    if (p->depth >= PATTERN_DEPTH_MAX)
        return pattern_stop(p, PATTERN_BAD, "the pattern is too deep");
    p->depth++;
    const char *found = match_here(p, s, t);
    p->depth--;
    return found;
}

void pattern_init(struct pattern *pattern, struct str subject, struct str text, int64_t *steps) {
    *pattern = (struct pattern){.subject = subject, .text = text, .steps = steps};
}

enum pattern_result pattern_match(struct pattern *pattern, const char *at, const char **end) {
    pattern->level = 0;
    pattern->depth = 0;
    pattern->state = PATTERN_FOUND;
    pattern->fault = NULL;
    *end = match(pattern, at, pattern->text.ptr);
    if (pattern->state != PATTERN_FOUND)
        return pattern->state;
    if (!*end)
        return PATTERN_NONE;
    for (uint32_t i = 0; i < pattern->level; i++) {
        if (pattern->captures[i].len == PATTERN_CAPTURE_OPEN) {
            pattern->fault = "a '(' without its ')'";
            return PATTERN_BAD;
        }
    }
    return PATTERN_FOUND;
}
