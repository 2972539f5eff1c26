/* customers: see customers.h. */
#include "domain/customers.h"

static const struct shape_field erased_rows[] = {
    [ERASED_CUSTOMER_ID] = SHAPE_ROW(struct customer_erased, customer_id, SHAPE_ID,
                                     "Who: a customer's number, a guest's order or a payload",
                                     .flags = SHAPE_REQUIRED, .max = 1024),
};
static SHAPE_DEFINE(customer_erased_shape, "customer_erased", struct customer_erased,
                    "What is personal of this person can not be read any more", erased_rows);

struct erasure_document {
    uint64_t has;
    struct str customer_id;
    struct instant erased_at;
    int64_t seq, documents;
};
static const struct shape_field erasure_rows[] = {
    SHAPE_ROW(struct erasure_document, customer_id, SHAPE_ID, "Who was erased"),
    SHAPE_ROW(struct erasure_document, erased_at, SHAPE_INSTANT, "When"),
    SHAPE_ROW(struct erasure_document, seq, SHAPE_INTEGER, "Of customer.erased"),
    SHAPE_ROW(struct erasure_document, documents, SHAPE_INTEGER,
              "Orders and payloads whose personal part this call made unreadable; 0 the second time"),
};
SHAPE_DEFINE(customer_erasure_shape, "customer_erasure", struct erasure_document,
             "A person was erased", erasure_rows);

static const struct table_column erasures_columns[ERASURES_COLUMNS] = {
    [ERASURES_PERSON] = {"person", COLUMN_TEXT, "A customer's number, a guest's order, a payload"},
    [ERASURES_SEQ] = {"seq", COLUMN_INTEGER, "Of the newest customer.erased"},
    [ERASURES_AT] = {"erased_us", COLUMN_INTEGER, "When, microseconds since 1970"},
};
static const char *const erasures_indexes[] = {"seq", NULL};
const struct table erasures_table = {.name = "erasures",
                                     .help = "Persons that were erased",
                                     .columns = erasures_columns,
                                     .count = ERASURES_COLUMNS,
                                     .key_columns = 1,
                                     .indexes = erasures_indexes};
static const struct table *const customers_tables[] = {&erasures_table, NULL};

static void erased_project(struct rows *rows, const struct event *event) {
    const struct customer_erased *e = event->data;
    struct row_value values[ERASURES_COLUMNS] = {
        [ERASURES_PERSON] = row_text(e->customer_id),
        [ERASURES_SEQ] = row_int((int64_t)event->seq),
        [ERASURES_AT] = row_int(event->time_us),
    };
    rows_put(rows, &erasures_table, UINT64_MAX, values);
}

static const struct event_type customer_erased_event = {
    .name = "customer.erased", .shape = &customer_erased_shape, .project = erased_project,
    .help = "What is personal of someone can not be read any more"};
static const struct event_type *const customers_events[] = {&customer_erased_event, NULL};

static enum err erase_decide(struct decision *decision, const struct command *command) {
    struct customer_erased *e;
    if (!decision_event(decision, &customer_erased_event, command->args[0], (void **)&e))
        return decision_refuse(decision, ERR_NOMEM, "no memory for the event");
    struct customer_erasure *asked = command->body;
    e->customer_id = command->args[0];
    shape_mark(e, ERASED_CUSTOMER_ID);
    asked->seq = decision_seq(decision);
    asked->erased_us = command->now_us;
    return decision_answer(decision, 200, &customer_erased_shape, e);
}
const struct command_type customer_erase_command = {
    .name = "customer.erase", .decide = erase_decide, .flags = COMMAND_INTERNAL,
    .help = "Makes what is personal of someone unreadable"};
static const struct command_type *const customers_commands[] = {&customer_erase_command, NULL};

const struct capability customers_capability = {
    .name = "customers",
    .help = "Persons, and their erasure",
    .commands = customers_commands,
    .events = customers_events,
    .tables = customers_tables,
};
