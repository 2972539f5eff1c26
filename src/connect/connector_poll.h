/* connector_poll: section `poll` of connector.yaml: what is asked for every so often, how the
 * answers are read, and how far it has come (the watermark). Read by connector_load_poll.c. */
#ifndef PENSTOCK_CONNECT_CONNECTOR_POLL_H
#define PENSTOCK_CONNECT_CONNECTOR_POLL_H

#include "connect/connector.h"

enum mark_type { MARK_TIME, MARK_NUMBER, MARK_TEXT };
/* How a time is written into a request. */
enum mark_format {
    MARK_RFC3339,      /* 2026-11-23T09:15:00Z, with a fraction where there is one */
    MARK_SECONDS,      /* 1795425300 */
    MARK_MILLISECONDS, /* 1795425300000 */
    MARK_DATETIME,     /* 2026-11-23T09:15:00, UTC */
    MARK_SPACE,        /* 2026-11-23 09:15:00, UTC */
    MARK_DATE,         /* 2026-11-23 */
};
struct connector_watermark {
    uint64_t has;
    struct str member;  /* of an item: "updated_at" */
    int32_t type;       /* enum mark_type */
    int32_t format;     /* enum mark_format; of times */
    struct str initial; /* "now", "beginning" or a value; default beginning */
    int64_t overlap_s;  /* times: asked for again each round; default 60 */
    int64_t overlap;    /* numbers: likewise */
    bool sorted;        /* the answer is in ascending order of it: it moves with each page */
};

/* How one gets from a page to the next. */
enum page_style {
    PAGES_NONE,      /* there is one page */
    PAGES_LINK,      /* header Link, rel="next" (RFC 8288) */
    PAGES_URL,       /* the next address is in the answer */
    PAGES_CURSOR,    /* a cursor or token in the answer goes into the next request: {cursor} */
    PAGES_OFFSET,    /* {offset} counts items */
    PAGES_PAGE,      /* {page} counts pages, from 1 */
    PAGES_WATERMARK, /* the same request again, from the newest item so far on */
};
struct connector_pages {
    uint64_t has;
    int32_t style;     /* enum page_style */
    struct str next;   /* url, cursor: JSON Pointer of it in the answer */
    struct str more;   /* JSON Pointer of a boolean: false ends the round; may be absent */
    struct str param;  /* cursor: query parameter that gets it, from the second page on */
    struct str url;    /* cursor: of the second page on, where it is another one */
    bool stable;       /* link, url, cursor: not by position, so items that change move no others */
    int64_t size;      /* {page_size}; default 100 */
    int64_t pages_max; /* of one round; default 1000 */
};

/* A call per item, where the list does not say all. */
struct connector_detail {
    uint64_t has;
    struct connector_request request; /* filled from the members below; {item}, {item.id} */
    struct str method, url;
    const struct json *headers_open, *body_open;
    struct str body;     /* as in the file, references resolved; absent: none */
    struct str document; /* JSON Pointer in its answer: what is kept; "": all of it */
};

struct connector_poll {
    uint64_t has;
    struct str topic;
    bool enabled;
    int64_t every_s;
    struct connector_request request; /* filled from poll_request */
    struct connector_poll_request {
        uint64_t has;
        struct str method, url, mapping;
        const struct json *headers_open, *body_open;
    } *how;
    struct str body;                   /* as in the file, references resolved; absent: none */
    struct str answer;                 /* "answer.lua": turns the answer into what items and pages
                                          point into; absent: as it is */
    struct str items;                  /* JSON Pointer: the list */
    struct str error;                  /* JSON Pointer: there and not null, false or empty: the
                                          answer is a failure, whatever its status */
    struct connector_watermark *watermark; /* NULL: everything, each time */
    struct connector_pages *pages;     /* never NULL once loaded */
    struct connector_detail *detail;   /* NULL: the item is the document */
    struct connector_place *dedup, *key, *version;
    struct str mapping, command;
    struct str backstop;               /* a webhook's topic: what it did not bring is fetched; mapping,
                                          command, key, version and only are that topic's */
    int64_t grace_s;                   /* backstop: younger ones may still come by themselves */
    struct connector_expect *expect;
    struct shape_list commands; /* of struct str, in place of command */
    int64_t timeout_ms;
    struct connector_outcome *outcome; /* never NULL once loaded */
    int32_t priority;                  /* enum net_class */
    /* not in the file */
    struct connector_receive take;     /* what becomes of an item: as of a webhook */
    const struct mapping_source *request_source, *answer_source; /* NULL: none */
    const struct connector *connector;
    struct str missing;                /* names of references that are not set; absent: usable */
};

#endif
