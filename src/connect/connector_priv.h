/* connector_priv: the rows of the tables in connector.c that the loaders look at, and what the
 * loaders share: connector_load.c reads the file, each further section is a connector_load_X.c. */
#ifndef PENSTOCK_CONNECT_CONNECTOR_PRIV_H
#define PENSTOCK_CONNECT_CONNECTOR_PRIV_H

#include "base/yaml.h"
#include "connect/connector.h"

enum connector_row {
    CONNECTOR_NAME, CONNECTOR_VERSION, CONNECTOR_OWNER, CONNECTOR_SERVICE_LEVEL, CONNECTOR_DESCRIPTION,
    CONNECTOR_SETTINGS, CONNECTOR_SESSION, CONNECTOR_RECEIVE, CONNECTOR_SEND,
};
enum connector_send_row {
    SEND_SUBSCRIPTION, SEND_ENABLED, SEND_EVENTS, SEND_KEY, SEND_PERSONAL, SEND_MAPPING, SEND_SCRIPT,
    SEND_SETTLE_MS, SEND_REQUEST,
    SEND_LOOKUP, SEND_REFERENCE, SEND_OUTCOME, SEND_RETRY, SEND_LIMITS, SEND_TIMEOUT_MS,
};
enum connector_retry_row {
    RETRY_FIRST_MS, RETRY_MAX_MS, RETRY_FACTOR, RETRY_JITTER, RETRY_ATTEMPTS_MAX, RETRY_AGE_MAX_S,
};

#define LOAD_TEXT_BYTES_MAX 65536
#define LOAD_HEADERS_MAX 64

/* One connector.yaml while it is read. What is wrong with it is told with yaml_fault and does not
 * end the reading; all that is made lies in `arena`, which lives as long as the set. */
struct loader {
    struct connectors *set;
    struct arena *arena;
    struct fault *fault;
    struct yaml yaml;
    struct connector *connector;
    const struct json *settings; /* all, secret ones too; JSON_NULL where not set */
    struct buf missing;          /* names not set, of the connector */
};

/* A text with its references replaced. */
struct resolved {
    struct str text; /* absent: something is not set */
    bool secret;     /* came from the environment or a file */
};

/* JSON Pointer of a place in the file, in the arena. */
struct str load_pointer(struct loader *l, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Adds "env NAME" to the names of what is not set, once. */
void load_note_missing(struct buf *to, const char *kind, struct str name);
/* Replaces ${env:…}, ${file:…} and ${setting:…}; names that are not set go to `missing`. */
struct resolved load_text(struct loader *l, struct str in, struct buf *missing, struct str pointer);
/* A .lua file of the connector's folder; absent: nothing. */
void load_mapping(struct loader *l, struct str file, struct str pointer,
                  const struct mapping_source **out);
/* URL and headers resolved; `method` where the file names none. */
void load_request(struct loader *l, struct connector_request *request, const char *method,
                  struct buf *missing, struct str pointer);
/* A document whose texts have their references replaced, as JSON text. Absent: one is not set. */
struct str load_document(struct loader *l, const struct json *from, struct buf *missing,
                         struct str pointer);

#endif
