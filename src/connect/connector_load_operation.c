/* connector_load_operation: section `operations` of connector.yaml: its table, defaults, mappings. */
#include <string.h>

#include "connect/connector_priv.h"
#include "connect/operation.h"
#include "core/config_roles.h"

#define OPERATION_TIMEOUT_MS 1000

#define ROW_AS(as, type, member, kind_, help_text, ...)                                            \
    {.name = as, .kind = kind_, .offset = offsetof(type, member), .since = 1, .help = help_text,   \
     ##__VA_ARGS__}

static const struct shape_field operation_rows[] = {
    SHAPE_ROW(struct connector_operation, operation, SHAPE_CODE,
              "{role}.{operation}, as tax.quote: GET|POST /s/tax/quote", .flags = SHAPE_REQUIRED),
    SHAPE_ROW(struct connector_operation, request, SHAPE_OBJECT,
              "What is sent; url and headers may hold {query.NAME}, {region}, {store}, {idempotency_key}, "
              "{correlation}", .flags = SHAPE_REQUIRED, .shape = &connector_request_shape),
    SHAPE_ROW(struct connector_operation, mapping_in, SHAPE_CODE,
              "File beside this one: {query, body, region, store} to what is sent"),
    SHAPE_ROW(struct connector_operation, mapping_out, SHAPE_CODE,
              "File beside this one: {status, body} to what the caller gets"),
    SHAPE_ROW(struct connector_operation, outcome, SHAPE_OBJECT, "What a status means",
              .shape = &connector_outcome_shape),
    SHAPE_ROW(struct connector_operation, limits, SHAPE_OBJECT, "What the other side can take",
              .shape = &connector_limits_shape),
    SHAPE_ROW(struct connector_operation, timeout_ms, SHAPE_INTEGER,
              "Time for all of it, waiting for a turn included (1000)", .min = 10, .max = 60000),
    SHAPE_ROW(struct connector_operation, priority, SHAPE_ENUM,
              "What goes first where the account can not take all (customer)", .values = account_priorities),
    ROW_AS("fallback", struct connector_operation, fallback_open, SHAPE_OPEN,
           "The answer where the system does not give one; left out: the caller is refused"),
};
SHAPE_DEFINE(connector_operation_shape, "connector_operation", struct connector_operation,
             "What it does for a caller who waits", operation_rows);

const struct connector_operation *connector_operation(const struct connector *connector,
                                                      struct str name) {
    for (uint32_t i = 0; i < connector->operations.count; i++) {
        const struct connector_operation *operation =
            list_at(connector->operations, struct connector_operation, i);
        if (str_eq(operation->operation, name))
            return operation;
    }
    return NULL;
}

static void check_name(struct loader *l, const struct connector_operation *operation, uint32_t i) {
    struct str rest = operation->operation;
    struct str role = str_cut(&rest, '.');
    if (!config_role_known(role) || rest.len == 0)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/operations/%u/operation", i),
                   "must be {role}.{operation}, with one of the roles %s", config_role_names);
    if (connector_operation(l->connector, operation->operation) != operation)
        yaml_fault(&l->yaml, l->fault, load_pointer(l, "/operations/%u/operation", i),
                   "the operation is there twice");
}

static enum err load_operation(struct loader *l, uint32_t i) {
    struct connector_operation *operation =
        list_at(l->connector->operations, struct connector_operation, i);
    struct buf missing;
    check_name(l, operation, i);
    if (!operation->outcome)
        operation->outcome = arena_new(l->arena, struct connector_outcome);
    if (!operation->limits)
        operation->limits = arena_new(l->arena, struct connector_limits);
    if (!operation->outcome || !operation->limits)
        return fault_set(l->fault, ERR_NOMEM, "no memory for connectors");
    buf_init(&missing, LOAD_TEXT_BYTES_MAX);
    load_request(l, operation->request, "POST", &missing, load_pointer(l, "/operations/%u/request", i));
    if (load_outcome(l, operation->outcome, load_pointer(l, "/operations/%u/outcome", i)) != OK)
        return ERR_NOMEM;
    if (!operation->limits->concurrency)
        operation->limits->concurrency = 16;
    if (!operation->timeout_ms)
        operation->timeout_ms = OPERATION_TIMEOUT_MS;
    load_mapping(l, operation->mapping_in, load_pointer(l, "/operations/%u/mapping_in", i),
                 &operation->source_in);
    load_mapping(l, operation->mapping_out, load_pointer(l, "/operations/%u/mapping_out", i),
                 &operation->source_out);
    if (operation->fallback_open && operation->fallback_open->kind != JSON_NULL)
        operation->fallback = load_document(l, operation->fallback_open, &missing,
                                            load_pointer(l, "/operations/%u/fallback", i));
    load_note_auth(l, &missing);
    if (missing.len > 0) {
        operation->missing = arena_str(l->arena, buf_str(&missing));
        load_note_missing(&l->missing, "for", operation->operation);
    }
    buf_free(&missing);
    return OK;
}

enum err load_operations(struct loader *l) {
    enum err err = OK;
    for (uint32_t i = 0; err == OK && i < l->connector->operations.count; i++)
        err = load_operation(l, i);
    return err;
}
