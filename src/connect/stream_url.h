/* stream_url: addresses of streams, as connector.yaml writes them:
 *
 *   nats://host:4222,host2:4222/orders.4711?ca=/etc/ca.pem      subject of a stream, or what is read
 *   kafka://host:9092,host2:9092/orders?key=4711&sasl=SCRAM-SHA-512
 *
 * nats+tls:// and kafka+tls:// ask for TLS. Who calls is not in them: that is section `auth`, which
 * reaches a driver as the header Authorization (connect/auth.h). Computes; owns nothing. */
#ifndef PENSTOCK_CONNECT_STREAM_URL_H
#define PENSTOCK_CONNECT_STREAM_URL_H

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"

enum stream_kind { STREAM_NATS, STREAM_KAFKA };

struct stream_url {
    enum stream_kind kind;
    bool tls;
    struct str hosts; /* "host:4222,host2:4222", as written */
    struct str path;  /* percent-decoded: subject, stream or topic. Of a subject, what can not stand in one
                         (blanks, * and >, controls) stays encoded */
    struct str query; /* as written; absent: none */
};

/* Whether it is the address of a stream at all; *kind may be NULL. */
bool stream_url_is(struct str url, enum stream_kind *kind);
/* ERR_INVALID (with what is wrong), ERR_NOMEM. */
enum err stream_url_read(struct str url, struct arena *arena, struct stream_url *out,
                         struct fault *fault) WARN_UNUSED;
/* A parameter of the query, percent-decoded in the arena; absent: it is not there, or no memory. */
struct str stream_url_option(const struct stream_url *url, const char *name, struct arena *arena);
/* Whether every parameter is one of `names` (NULL behind the last); *which gets one that is not. */
bool stream_url_options_known(const struct stream_url *url, const char *const *names,
                              struct str *which);
/* The parameters that both kinds know, and of each: of a connection, and of a delivery. */
extern const char *const stream_url_options[2][12];
/* Parameter look_records: how many records of a partition are looked through for one in doubt (kafka_look.h). */
#define KAFKA_LOOK_RECORDS 200000
#define KAFKA_LOOK_RECORDS_MIN 1000
#define KAFKA_LOOK_RECORDS_MAX 1000000
/* Whether messages can be sent to it, or read from it: no empty part, no wildcard where none may be. */
bool stream_subject_good(struct str subject, bool wildcards);
bool stream_topic_good(struct str topic);

/* What Authorization says: user and password (Basic), or a token (Bearer). */
struct stream_login {
    struct str user, password, token; /* absent: none */
};
enum err stream_login_read(struct str authorization, struct arena *arena, struct stream_login *out,
                           struct fault *fault) WARN_UNUSED;

#endif
