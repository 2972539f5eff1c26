/* csv: see csv.h. */
#include "connect/csv.h"

#include "base/buf.h"
#include "base/encode.h"

/* Windows code page 1252, 0x80 to 0x9f; 0: not assigned. Latin-1 has control characters there. */
static const uint16_t windows1252[32] = {
    0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};

static bool ascii(struct str text) {
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.ptr[i] >= 0x80)
            return false;
    return true;
}

/* No control characters but tab and line ends: a text in the journal has none. */
static bool printable(struct str text) {
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
            return false;
    }
    return true;
}

static size_t code_write(char *out, uint32_t code) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xc0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3f));
        return 2;
    }
    out[0] = (char)(0xe0 | code >> 12);
    out[1] = (char)(0x80 | (code >> 6 & 0x3f));
    out[2] = (char)(0x80 | (code & 0x3f));
    return 3;
}

struct str csv_decode(enum csv_encoding encoding, struct str text, struct arena *arena, bool *nomem) {
    if (!printable(text))
        return STR_NONE;
    if (encoding == CSV_UTF8 || ascii(text)) {
        struct str copy = utf8_valid(text) ? arena_str(arena, text.ptr ? text : STR("")) : STR_NONE;
        *nomem = *nomem || (!copy.ptr && utf8_valid(text));
        return copy;
    }
    char *out = arena_bytes(arena, text.len * 3 + 1);
    size_t len = 0;
    if (!out) {
        *nomem = true;
        return STR_NONE;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint32_t code = (unsigned char)text.ptr[i];
        if (code >= 0x80 && code < 0xa0)
            code = encoding == CSV_WINDOWS1252 ? windows1252[code - 0x80] : 0;
        if (code == 0)
            return STR_NONE;
        len += code_write(out + len, code);
    }
    out[len] = '\0';
    return str_of(out, len);
}

/* --- one record ---------------------------------------------------------------------------- */

struct reader {
    const struct csv_dialect *dialect;
    struct arena *arena;
    struct str window;
    size_t at;
    bool final, nomem, more; /* more: the window ended too early */
    struct csv_record *out;
};

static bool field_add(struct reader *r, struct str raw, bool trim) {
    struct csv_record *out = r->out;
    if (out->count == CSV_FIELDS_MAX) {
        out->problem = "has too many columns";
    } else {
        struct str text = csv_decode(r->dialect->encoding, trim ? str_trim(raw) : raw, r->arena,
                                     &r->nomem);
        if (text.ptr)
            out->fields[out->count++] = text;
        else
            out->problem = "is not in the encoding that is declared, or has control characters";
    }
    if (out->problem)
        out->column = out->count + 1;
    return !out->problem;
}

/* 0: no line end here; -1: it may be one, the window ends. */
static int line_end(const struct reader *r, size_t at) {
    if (r->window.ptr[at] == '\n')
        return 1;
    if (r->window.ptr[at] != '\r')
        return 0;
    if (at + 1 == r->window.len)
        return r->final ? 1 : -1;
    return r->window.ptr[at + 1] == '\n' ? 2 : 0;
}

/* Takes it up to its closing quote, doubled ones made single. False: a problem, or more is needed. */
static bool quoted_field(struct reader *r) {
    struct str w = r->window;
    char quote = r->dialect->quote;
    size_t from = ++r->at, len = 0;
    char *text = NULL; /* where quotes were doubled */
    for (;; r->at++) {
        if (r->at == w.len) {
            r->more = !r->final;
            if (r->final) {
                r->out->problem = "has a quote that is never closed";
                r->out->column = r->out->count + 1;
            }
            return false;
        }
        if (w.ptr[r->at] == '\n')
            r->out->lines++;
        bool closing = w.ptr[r->at] == quote;
        if (closing && r->at + 1 == w.len && !r->final) {
            r->more = true;
            return false;
        }
        if (closing && (r->at + 1 == w.len || w.ptr[r->at + 1] != quote))
            break;
        if (closing && !text) {
            text = arena_bytes(r->arena, w.len - from + 1);
            if (!text) {
                r->nomem = true;
                return false;
            }
            memcpy(text, w.ptr + from, r->at - from);
            len = r->at - from;
        }
        r->at += closing;
        if (text)
            text[len++] = w.ptr[r->at];
    }
    struct str raw = text ? str_of(text, len) : str_of(w.ptr + from, r->at - from);
    r->at++;
    return field_add(r, raw, false);
}

/* A field and the delimiter behind it. True: another field follows. */
static bool delimited_field(struct reader *r) {
    struct str w = r->window;
    char delimiter = r->dialect->delimiter, quote = r->dialect->quote;
    size_t from = r->at;
    int end = 0;
    if (quote && from < w.len && w.ptr[from] == quote) {
        if (!quoted_field(r))
            return false;
        from = r->at;
        if (from < w.len && w.ptr[from] != delimiter && line_end(r, from) == 0) {
            r->out->problem = "has text behind its closing quote";
            r->out->column = r->out->count;
            return false;
        }
    } else {
        while (r->at < w.len && w.ptr[r->at] != delimiter && line_end(r, r->at) == 0)
            r->at++;
        if (r->at == w.len && !r->final) {
            r->more = true;
            return false;
        }
        if (!field_add(r, str_of(w.ptr + from, r->at - from), r->dialect->trim))
            return false;
    }
    if (r->at == w.len) {
        r->more = !r->final;
        return false;
    }
    if (w.ptr[r->at] == delimiter) {
        r->at++;
        return true;
    }
    end = line_end(r, r->at);
    if (end < 0) {
        r->more = true;
        return false;
    }
    r->at += (size_t)end;
    r->out->lines += end > 0;
    return false;
}

/* The line at the beginning of the window; false: it has no end in it. */
static bool line_take(struct reader *r, struct str *line) {
    const char *end = r->window.len ? memchr(r->window.ptr, '\n', r->window.len) : NULL;
    if (!end && !r->final)
        return false;
    size_t len = end ? (size_t)(end - r->window.ptr) : r->window.len;
    r->at = len + (end ? 1 : 0);
    r->out->lines = end ? 1 : 0;
    *line = str_of(r->window.ptr, len > 0 && r->window.ptr[len - 1] == '\r' ? len - 1 : len);
    return true;
}

static size_t characters(const struct csv_dialect *d, struct str line, size_t at, uint32_t n) {
    while (n > 0 && at < line.len) {
        at++;
        while (d->encoding == CSV_UTF8 && at < line.len && ((unsigned char)line.ptr[at] & 0xc0) == 0x80)
            at++;
        n--;
    }
    return at;
}

static void fixed_record(struct reader *r) {
    struct str line;
    size_t at = 0;
    if (!line_take(r, &line)) {
        r->more = true;
        return;
    }
    for (uint32_t i = 0; i < r->dialect->width_count; i++) {
        size_t to = characters(r->dialect, line, at, r->dialect->widths[i]);
        struct str field = str_of(line.ptr + at, to - at);
        while (field.len > 0 && field.ptr[field.len - 1] == ' ')
            field.len--;
        if (!field_add(r, field, r->dialect->trim))
            return;
        at = to;
    }
    if (str_trim(str_of(line.ptr + at, line.len - at)).len > 0) {
        r->out->problem = "is longer than its columns";
        r->out->column = r->out->count;
    }
}

/* A record that is wrong, or has no end: it ends with its first line. */
static enum csv_result resync(struct reader *r, size_t window_max) {
    const char *end = memchr(r->window.ptr, '\n', r->window.len);
    if (!end && !r->final && r->window.len < window_max)
        return CSV_MORE;
    r->out->bytes = end ? (size_t)(end - r->window.ptr) + 1 : r->window.len;
    r->out->lines = end ? 1 : 0;
    return CSV_RECORD;
}

enum csv_result csv_next(const struct csv_dialect *dialect, struct str window, bool final,
                         size_t window_max, struct arena *arena, struct csv_record *out) {
    struct reader r = {.dialect = dialect, .arena = arena, .window = window, .final = final, .out = out};
    *out = (struct csv_record){0};
    if (window.len == 0)
        return final ? CSV_END : CSV_MORE;
    int empty = line_end(&r, 0);
    if (empty < 0)
        return CSV_MORE;
    if (empty > 0) {
        out->bytes = (size_t)empty;
        out->lines = 1;
        return CSV_EMPTY;
    }
    out->fields = arena_array(arena, CSV_FIELDS_MAX, sizeof *out->fields);
    if (!out->fields)
        return CSV_NOMEM;
    if (dialect->widths)
        fixed_record(&r);
    else
        while (delimited_field(&r))
            ;
    if (r.nomem)
        return CSV_NOMEM;
    if (r.more && window.len < window_max)
        return CSV_MORE;
    if (r.more) {
        out->problem = "is longer than a record may be; is a quote not closed?";
        out->column = out->count + 1;
    }
    if (out->problem)
        return resync(&r, window_max);
    out->bytes = r.at;
    return CSV_RECORD;
}

/* --- numbers ------------------------------------------------------------------------------- */

struct str csv_decimal(struct str text, char decimal, struct arena *arena) {
    char other = decimal == ',' ? '.' : ',';
    text = str_trim(text);
    char *out = arena_bytes(arena, text.len + 1);
    size_t len = 0, digits = 0;
    bool point = false;
    if (!out || text.len == 0)
        return out ? str_of(out, 0) : STR_NONE;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c >= '0' && c <= '9') {
            digits++;
            out[len++] = c;
        } else if (c == '-' && i == 0) {
            out[len++] = c;
        } else if (c == decimal && !point && digits > 0) {
            point = true;
            out[len++] = '.';
        } else if ((c == other || c == ' ' || c == '\'') && !point && digits > 0) {
            /* three digits must follow, and no fourth */
            for (int k = 1; k <= 3; k++)
                if (i + (size_t)k >= text.len || text.ptr[i + (size_t)k] < '0' ||
                    text.ptr[i + (size_t)k] > '9')
                    return STR_NONE;
            if (i + 4 < text.len && text.ptr[i + 4] >= '0' && text.ptr[i + 4] <= '9')
                return STR_NONE;
        } else if (c != '+' || i != 0) {
            return STR_NONE;
        }
    }
    if (digits == 0 || out[len - 1] == '.')
        return STR_NONE;
    out[len] = '\0';
    return str_of(out, len);
}
