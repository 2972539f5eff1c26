/* kafka_options: see kafka_options.h. */
#include "connect/kafka_options.h"

#include <stdio.h>
#include <stdlib.h>

enum err kafka_option(rd_kafka_conf_t *conf, const char *name, const char *value, struct fault *fault) {
    char why[200];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
        return OK;
    return fault_set(fault, ERR_INVALID, "Kafka: %s can not be set: %s", name, why);
}

enum err kafka_option_number(rd_kafka_conf_t *conf, const char *name, int64_t value, struct fault *fault) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)value);
    return kafka_option(conf, name, text, fault);
}

static enum err option_str(rd_kafka_conf_t *conf, const char *name, struct str value, struct arena *arena,
                           struct fault *fault) {
    if (!value.len)
        return OK;
    struct str text = arena_printf(arena, "%.*s", STR_FMT(value));
    return text.ptr ? kafka_option(conf, name, text.ptr, fault)
                    : fault_set(fault, ERR_NOMEM, "no memory for a stream");
}

/* Those that need a name and a password, and nothing else. */
static enum err mechanism_set(rd_kafka_conf_t *conf, struct str sasl, struct fault *fault) {
    static const char *const known[] = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!sasl.len || str_is(sasl, known[i]))
            return kafka_option(conf, "sasl.mechanism", known[i], fault);
    return fault_set(fault, ERR_INVALID, "Kafka: sasl=%.*s is not known: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
                     (int)(sasl.len < 32 ? sasl.len : 32), sasl.ptr);
}

static enum err secure(rd_kafka_conf_t *conf, const struct stream_url *url, const struct stream_login *login,
                       struct arena *arena, struct fault *fault) {
    const char *environment = getenv("PENSTOCK_CA_FILE");
    struct str ca = stream_url_option(url, "ca", arena), cert = stream_url_option(url, "cert", arena);
    struct str key = stream_url_option(url, "cert_key", arena), sasl = stream_url_option(url, "sasl", arena);
    static const char *const protocols[2][2] = {{"plaintext", "ssl"}, {"sasl_plaintext", "sasl_ssl"}};
    bool named = login->user.len > 0;
    enum err err = kafka_option(conf, "security.protocol", protocols[named][url->tls], fault);
    if (err == OK && url->tls)
        err = option_str(conf, "ssl.ca.location", ca.len ? ca : str_c(environment), arena, fault);
    if (err == OK && url->tls)
        err = option_str(conf, "ssl.certificate.location", cert, arena, fault);
    if (err == OK && url->tls)
        err = option_str(conf, "ssl.key.location", key, arena, fault);
    if (err == OK && named)
        err = mechanism_set(conf, sasl, fault);
    if (err == OK && named)
        err = option_str(conf, "sasl.username", login->user, arena, fault);
    return err == OK && named ? option_str(conf, "sasl.password", login->password, arena, fault) : err;
}

enum err kafka_options_make(const struct stream_url *url, struct str authorization, struct arena *arena,
                            rd_kafka_conf_t **out, struct fault *fault) {
    struct stream_login login;
    enum err err = stream_login_read(authorization, arena, &login, fault);
    if (err == OK && login.token.ptr)
        err = fault_set(fault, ERR_INVALID, "Kafka takes auth basic: user and password");
    if (err != OK)
        return err;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL); /* what matters is told as an error of the stream */
    err = option_str(conf, "bootstrap.servers", url->hosts, arena, fault);
    if (err == OK)
        err = secure(conf, url, &login, arena, fault);
    if (err == OK)
        err = kafka_option(conf, "client.id", "penstock", fault);
    if (err == OK)
        err = kafka_option(conf, "socket.nagle.disable", "true", fault); /* a question waits for no other's answer */
    if (err == OK)
        err = kafka_option_number(conf, "reconnect.backoff.max.ms", 2000, fault);
    if (err != OK) {
        rd_kafka_conf_destroy(conf);
        return err;
    }
    *out = conf;
    return OK;
}
