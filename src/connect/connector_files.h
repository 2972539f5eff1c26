/* connector_files: section `files` of connector.yaml: a folder in which other systems leave files, and how
 * those are divided into records. Read by connector_load_files.c. */
#ifndef PENSTOCK_CONNECT_CONNECTOR_FILES_H
#define PENSTOCK_CONNECT_CONNECTOR_FILES_H

#include "connect/connector.h"
#include "connect/csv.h"

enum file_format { FILE_CSV, FILE_NDJSON, FILE_JSON, FILE_FIXED };

/* When a file is complete. What begins with a dot or ends in .tmp, .part or .filepart never is. */
struct connector_ready {
    uint64_t has;
    int64_t stable_s; /* it has not changed for so long; default 5 where there is no marker */
    struct str done;  /* ".done": it is complete when a file of its name with this behind it is there */
};
struct connector_csv {
    uint64_t has;
    struct str delimiter, quote;  /* one character; quote "": none */
    int32_t encoding;             /* enum csv_encoding; of fixed as well */
    bool header;                  /* the first line names the columns; default true unless `columns` */
    struct shape_list columns;    /* of struct str: their names, where no header does */
    bool trim;
    int64_t skip_lines;           /* before the header */
};
struct connector_column {
    uint64_t has;
    struct str name;
    int64_t width; /* in characters */
};

struct connector_files {
    uint64_t has;
    struct str topic;
    bool enabled;
    struct str folder;         /* absolute, or below the configuration's folder */
    struct str pattern;        /* "orders-*.csv" */
    int64_t every_s;           /* between two looks; default 5 */
    struct connector_ready *ready;
    int32_t format;            /* enum file_format */
    struct connector_csv *csv; /* never NULL once loaded */
    struct shape_list fixed;   /* of struct connector_column */
    struct str items;          /* json: JSON Pointer of the list */
    struct shape_list group;   /* of struct str: adjacent rows with the same text there are one document */
    struct shape_list decimals; /* of struct str: columns that hold numbers, with … */
    struct str decimal;        /* … this mark: "," or "." */
    struct connector_place *key, *version;
    struct str mapping, command;
    struct shape_list commands;
    /* not in the file */
    struct connector_receive take; /* what becomes of a record: as of a webhook */
    struct csv_dialect dialect;
    const struct connector *connector;
    struct str missing; /* names of references that are not set; absent: usable */
};

#endif
