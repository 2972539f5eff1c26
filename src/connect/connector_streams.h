/* connector_streams: section `streams` of connector.yaml: what is read from NATS JetStream and from Kafka. Read
 * by connector_load_streams.c. */
#ifndef PENSTOCK_CONNECT_CONNECTOR_STREAMS_H
#define PENSTOCK_CONNECT_CONNECTOR_STREAMS_H

#include "connect/connector.h"
#include "connect/stream_url.h"

enum stream_start { STREAM_START_ALL, STREAM_START_NEW };

struct connector_stream {
    uint64_t has;
    struct str topic;
    bool enabled;
    struct str url;     /* nats://host:4222/STREAM, kafka://host:9092/topic; references resolved */
    struct str subject; /* NATS: only what is on such subjects; absent: all of the stream */
    struct str group;   /* durable consumer, or consumer group; absent: "penstock-CELL" */
    int32_t start;      /* enum stream_start: where a group begins that has read nothing yet */
    int64_t in_flight;  /* messages taken at once, before those before them are in the journal */
    struct connector_place *dedup, *key, *version;
    struct str mapping, command;
    struct shape_list commands;
    /* not in the file */
    struct connector_receive take; /* what becomes of a message: as of a webhook */
    struct stream_url address;     /* of url; where something is missing, nothing */
    struct str authorization;      /* what `auth` says who calls; absent: nothing */
    const struct connector *connector;
    struct str missing; /* names of references that are not set; absent: usable */
};
/* In place of a header's name: the record's key, or the message's subject. */
#define STREAM_KEY ":key"

#endif
