/* log: one line of logfmt on stderr per thing worth telling, logged once, where handled. What
 * concerns a request, a message or a delivery says correlation=. No secrets, no personal data; values
 * that come from outside go through log_quote. */
#ifndef PENSTOCK_BASE_LOG_H
#define PENSTOCK_BASE_LOG_H

#include "base/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
#define LOG_LEVELS (LOG_ERROR + 1)
const char *log_level_name(enum log_level level);
/* Lines written so far; any thread. */
uint64_t log_lines(enum log_level level);

void log_level_set(enum log_level level);
/* `part` is the folder's name; fmt gives further key=value pairs, already in logfmt.
 * Values that may hold spaces go through %s of log_quote. Example:
 *   log_line(LOG_WARN, "deliver", "holding lane", "subscription=%s attempts=%u", name, n); */
void log_line(enum log_level level, const char *part, const char *message, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* " trace_id=… span_id=…", to follow correlation=, where the trace is sampled; else "". Of this
 * thread, until the next call. */
const char *log_trace(struct str traceparent);
/* s as a logfmt value, quoted and escaped where needed, in one of 4 buffers of this thread. */
const char *log_quote(struct str s);

#endif
