/* log: see log.h. A line is built in one buffer and written by one write(2), so that lines
 * of several threads do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/encode.h"
#include "base/pan.h"
#include "base/span.h"

#define PAIRS_MAX 65536 /* bytes of what a line tells behind its message */

static _Atomic int log_level_now = LOG_INFO;

static _Atomic uint64_t written_lines[LOG_LEVELS];

const char *log_level_name(enum log_level level) {
    static const char *const names[LOG_LEVELS] = {"debug", "info", "warn", "error"};
    return names[level];
}

uint64_t log_lines(enum log_level level) {
    return atomic_load_explicit(&written_lines[level], memory_order_relaxed);
}

void log_level_set(enum log_level level) { atomic_store(&log_level_now, (int)level); }

static void escape_add(struct buf *buf, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    const char text[] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    buf_add(buf, text, sizeof text);
}

/* As a JSON string, and so that no byte of it can move a terminal or end a line: C0, DEL and C1
 * controls are escaped, bytes that are no UTF-8 become '?'. */
static void quoted_add(struct buf *buf, struct str s) {
    bool utf8 = utf8_valid(s);
    buf_char(buf, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        unsigned char next = i + 1 < s.len ? (unsigned char)s.ptr[i + 1] : 0;
        if (c == '"' || c == '\\') {
            buf_char(buf, '\\');
            buf_char(buf, (char)c);
        } else if (c == '\n') {
            buf_lit(buf, "\\n");
        } else if (c < ' ' || c == 0x7f) {
            escape_add(buf, c);
        } else if (c >= 0x80 && !utf8) {
            buf_char(buf, '?');
        } else if (c == 0xc2 && next < 0xa0) {
            escape_add(buf, next);
            i++;
        } else {
            buf_char(buf, (char)c);
        }
    }
    buf_char(buf, '"');
}

static void quote_into(struct buf *buf, struct str s) {
    bool plain = s.len > 0;
    for (size_t i = 0; i < s.len && plain; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        plain = c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    }
    if (plain)
        buf_str_add(buf, s);
    else
        quoted_add(buf, s);
}

/* The pairs, whole or not at all: half a quoted value would be no logfmt. */
static void pairs_add(struct buf *buf, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, fmt, args);
    if (len < 0 || len > PAIRS_MAX || !buf_reserve(buf, (size_t)len + 2)) {
        buf_lit(buf, " left_out=too-long");
    } else {
        buf_char(buf, ' ');
        vsnprintf(buf->data + buf->len, (size_t)len + 1, fmt, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void log_line(enum log_level level, const char *part, const char *message, const char *fmt, ...) {
    if ((int)level < atomic_load_explicit(&log_level_now, memory_order_relaxed))
        return;
    atomic_fetch_add_explicit(&written_lines[level], 1, memory_order_relaxed);
    struct buf buf;
    buf_init(&buf, PAIRS_MAX + 16384);
    buf_lit(&buf, "ts=");
    instant_write(&buf, (struct instant){.us = clock_now_us(&clock_system)});
    buf_printf(&buf, " level=%s part=%s msg=", log_level_name(level), part);
    quote_into(&buf, str_c(message));
    if (fmt && fmt[0]) {
        va_list args;
        va_start(args, fmt);
        pairs_add(&buf, fmt, args);
        va_end(args);
    }
    if (buf.len > 0)
        pan_mask(buf.data, buf.len);
    buf_char(&buf, '\n');
    ssize_t written = write(STDERR_FILENO, buf.data ? buf.data : "", buf.len);
    (void)written; /* nowhere left to complain */
    buf_free(&buf);
}

const char *log_trace(struct str traceparent) {
    static _Thread_local char text[sizeof " trace_id= span_id=" + TRACE_ID_LEN + SPAN_ID_LEN];
    text[0] = '\0';
    if (span_sampled(traceparent))
        snprintf(text, sizeof text, " trace_id=%.32s span_id=%.16s", traceparent.ptr + 3,
                 traceparent_span(traceparent));
    return text;
}

#define QUOTE_MAX 1024 /* bytes of a value that are told */

const char *log_quote(struct str s) {
    /* On no heap: a thread ends without a word to us. An escaped byte takes at most 6. */
    static _Thread_local char texts[4][6 * QUOTE_MAX + 3];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 4];
    struct buf buf;
    buf_init(&buf, sizeof texts[0] - 1);
    if (s.len > QUOTE_MAX) {
        s.len = QUOTE_MAX;
        while (s.len > 0 && ((unsigned char)s.ptr[s.len] & 0xc0) == 0x80)
            s.len--; /* not within a character */
    }
    quote_into(&buf, s);
    size_t len = buf_ok(&buf) ? buf.len : 0;
    if (len > 0)
        memcpy(text, buf.data, len);
    text[len] = '\0';
    buf_free(&buf);
    return text;
}
