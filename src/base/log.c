/* log: see log.h. A line is built in one buffer and written by one write(2), so that lines
 * of several threads do not mix. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

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

static void quote_into(struct buf *buf, struct str s) {
    bool plain = s.len > 0;
    for (size_t i = 0; i < s.len && plain; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        plain = c > ' ' && c < 0x7f && c != '"' && c != '=' && c != '\\';
    }
    if (plain)
        buf_str_add(buf, s);
    else
        buf_json_str(buf, s);
}

void log_line(enum log_level level, const char *part, const char *message, const char *fmt, ...) {
    if ((int)level < atomic_load_explicit(&log_level_now, memory_order_relaxed))
        return;
    atomic_fetch_add_explicit(&written_lines[level], 1, memory_order_relaxed);
    struct buf buf;
    buf_init(&buf, 16384);
    buf_lit(&buf, "ts=");
    instant_write(&buf, (struct instant){.us = clock_now_us(&clock_system)});
    buf_printf(&buf, " level=%s part=%s msg=", log_level_name(level), part);
    quote_into(&buf, str_c(message));
    if (fmt && fmt[0]) {
        char text[4096];
        va_list args;
        va_start(args, fmt);
        int len = vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        if (len > 0) {
            buf_char(&buf, ' ');
            buf_add(&buf, text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1);
        }
    }
    buf_char(&buf, '\n');
    ssize_t written = write(STDERR_FILENO, buf.data ? buf.data : "", buf.len);
    (void)written; /* nowhere left to complain */
    buf_free(&buf);
}

#define QUOTE_MAX 1024 /* bytes of a value that are told */

const char *log_quote(struct str s) {
    /* On no heap: a thread ends without a word to us. An escaped byte takes at most 6. */
    static _Thread_local char texts[4][6 * QUOTE_MAX + 3];
    static _Thread_local unsigned turn;
    char *text = texts[turn++ % 4];
    struct buf buf;
    buf_init(&buf, sizeof texts[0] - 1);
    if (s.len > QUOTE_MAX)
        s.len = QUOTE_MAX;
    quote_into(&buf, s);
    size_t len = buf_ok(&buf) ? buf.len : 0;
    if (len > 0)
        memcpy(text, buf.data, len);
    text[len] = '\0';
    buf_free(&buf);
    return text;
}
