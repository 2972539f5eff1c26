/* kafka_peer: a Kafka cluster for tests: librdkafka's mock brokers, or real ones (kafka_peer BROKERS), and what a
 * test asks of them, a line of words on stdin, a line of JSON on stdout each:
 *   topic NAME PARTITIONS · put TOPIC KEY ID BODY… · dump TOPIC · fail API ERROR · down · up */
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rd_kafka_mock_cluster_t *mock;
static char brokers[512];

static rd_kafka_t *client(rd_kafka_type_t type) {
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, NULL);
    if (*brokers)
        rd_kafka_conf_set(conf, "bootstrap.servers", brokers, why, sizeof why);
    if (type == RD_KAFKA_CONSUMER) {
        rd_kafka_conf_set(conf, "group.id", "kafka-peer", why, sizeof why);
        rd_kafka_conf_set(conf, "enable.partition.eof", "true", why, sizeof why);
    } else {
        rd_kafka_conf_set(conf, "partitioner", "murmur2_random", why, sizeof why);
    }
    return rd_kafka_new(type, conf, why, sizeof why);
}

static void put(rd_kafka_t *producer, const char *topic, const char *key, const char *id, const char *body) {
    rd_kafka_headers_t *headers = rd_kafka_headers_new(1);
    if (strcmp(id, "-") != 0)
        rd_kafka_header_add(headers, "ce_id", -1, id, -1);
    rd_kafka_resp_err_t err =
        rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_KEY(key, strlen(key)), RD_KAFKA_V_VALUE((void *)(size_t)body, strlen(body)),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    rd_kafka_flush(producer, 10000);
    printf("{\"put\":%s}\n", err ? "false" : "true");
}

/* Bodies are JSON, keys and header values plain. */
static void record_say(const rd_kafka_message_t *m, int first) {
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t size;
    printf("%s{\"partition\":%d,\"key\":\"%.*s\",\"body\":%.*s,\"headers\":{", first ? "" : ",", (int)m->partition,
           (int)m->key_len, m->key ? (const char *)m->key : "", (int)m->len, (const char *)m->payload);
    rd_kafka_message_headers(m, &headers);
    for (size_t i = 0; headers && !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++)
        printf("%s\"%s\":\"%.*s\"", i ? "," : "", name, (int)size, (const char *)value);
    printf("}}");
}

static void dump(const char *topic) {
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER);
    rd_kafka_poll_set_consumer(consumer);
    const struct rd_kafka_metadata *known = NULL;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer, topic, NULL);
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(8);
    if (rd_kafka_metadata(consumer, 0, handle, &known, 10000) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (int i = 0; i < known->topics[0].partition_cnt; i++)
            rd_kafka_topic_partition_list_add(all, topic, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
    int left = all->cnt, first = 1;
    rd_kafka_assign(consumer, all);
    printf("[");
    for (int tries = 0; left > 0 && tries < 100; tries++) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(consumer, 200);
        if (m && m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
            left--;
        if (m && !m->err) {
            record_say(m, first);
            first = tries = 0;
        }
        if (m)
            rd_kafka_message_destroy(m);
    }
    printf("]\n");
    if (known)
        rd_kafka_metadata_destroy(known);
    rd_kafka_topic_destroy(handle);
    rd_kafka_topic_partition_list_destroy(all);
    rd_kafka_destroy(consumer);
}

static void command(rd_kafka_t *producer, char *line) {
    char *rest = NULL, *what = strtok_r(line, " ", &rest), *a = strtok_r(NULL, " ", &rest);
    if (strcmp(what, "put") == 0) {
        char *key = strtok_r(NULL, " ", &rest), *id = strtok_r(NULL, " ", &rest);
        put(producer, a, key, id, rest);
        return;
    }
    if (strcmp(what, "dump") == 0) {
        dump(a);
        return;
    }
    char *b = strtok_r(NULL, " ", &rest);
    if (mock && strcmp(what, "topic") == 0)
        rd_kafka_mock_topic_create(mock, a, (int)strtol(b, NULL, 10), 1);
    else if (mock && strcmp(what, "fail") == 0)
        rd_kafka_mock_push_request_errors(mock, (int16_t)strtol(a, NULL, 10), 1,
                                          (rd_kafka_resp_err_t)strtol(b, NULL, 10));
    else if (mock && strcmp(what, "down") == 0)
        rd_kafka_mock_broker_set_down(mock, 1);
    else if (mock && strcmp(what, "up") == 0)
        rd_kafka_mock_broker_set_up(mock, 1);
    printf("{}\n");
}

int main(int argc, char **argv) {
    static char line[1 << 20];
    rd_kafka_t *owner = client(RD_KAFKA_PRODUCER);
    if (argc > 1) {
        snprintf(brokers, sizeof brokers, "%s", argv[1]);
    } else {
        mock = rd_kafka_mock_cluster_new(owner, 1);
        snprintf(brokers, sizeof brokers, "%s", rd_kafka_mock_cluster_bootstraps(mock));
    }
    rd_kafka_t *producer = client(RD_KAFKA_PRODUCER);
    printf("%s\n", brokers);
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (*line)
            command(producer, line);
        fflush(stdout);
    }
    rd_kafka_destroy(producer);
    if (mock)
        rd_kafka_mock_cluster_destroy(mock);
    rd_kafka_destroy(owner);
    return 0;
}
