/* reporting: see reporting.h. Prints from the capabilities' tables; holds no state. */
#include "store/reporting.h"

#include <stdio.h>
#include <string.h>

#include "retail/money.h"

/* --- columns ------------------------------------------------------------------------------ */

/* The name of the column that a unit adds to the view; false where it adds none. */
static bool added_name(const struct table_column *column, char *out, size_t size) {
    size_t len = strlen(column->name);
    if (column->unit == UNIT_INSTANT_US) {
        must(len > 3 && strcmp(column->name + len - 3, "_us") == 0);
        snprintf(out, size, "%.*s_at", (int)len - 3, column->name);
    } else if (column->unit == UNIT_MINOR) {
        snprintf(out, size, "%s_amount", column->name);
    }
    return column->unit != UNIT_NONE;
}

static void instant_sql(const char *name, struct buf *out) {
    buf_printf(out,
               "strftime('%%Y-%%m-%%dT%%H:%%M:%%S', \"%s\" / 1000000, 'unixepoch') || "
               "printf('.%%06dZ', \"%s\" %% 1000000)",
               name, name);
}

static void amount_sql(const char *name, struct buf *out) {
    static const struct {
        int decimals;
        const char *divisor;
    } others[] = {{3, "1000"}, {4, "10000"}};
    buf_printf(out, "CASE WHEN instr('%s', \"currency\") THEN CAST(\"%s\" AS TEXT)",
               currency_codes(0), name);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        buf_printf(out, " WHEN instr('%s', \"currency\") THEN"
                        " printf('%%s%%d.%%0%dd', CASE WHEN \"%s\" < 0 THEN '-' ELSE '' END,"
                        " abs(\"%s\") / %s, abs(\"%s\") %% %s)",
                   currency_codes(others[i].decimals), others[i].decimals, name, name,
                   others[i].divisor, name, others[i].divisor);
    buf_printf(out, " ELSE printf('%%s%%d.%%02d', CASE WHEN \"%s\" < 0 THEN '-' ELSE '' END,"
                    " abs(\"%s\") / 100, abs(\"%s\") %% 100) END",
               name, name, name);
}

/* --- views -------------------------------------------------------------------------------- */

void reporting_view(const struct table *table, struct buf *out) {
    char added[128];
    buf_printf(out, "CREATE VIEW \"report_%s\" AS SELECT", table->name);
    for (uint32_t i = 0; i < table->count; i++) {
        const struct table_column *column = &table->columns[i];
        buf_printf(out, "%s\n  \"%s\"", i > 0 ? "," : "", column->name);
        if (!added_name(column, added, sizeof added))
            continue;
        buf_lit(out, ",\n  ");
        if (column->unit == UNIT_INSTANT_US)
            instant_sql(column->name, out);
        else
            amount_sql(column->name, out);
        buf_printf(out, " AS \"%s\"", added);
    }
    buf_printf(out, "\nFROM \"%s\";\n", table->name);
}

void reporting_status(struct buf *out) {
    buf_lit(out, "CREATE VIEW \"report_status\" AS SELECT seq FROM hub;\n");
}

static void tables_each(const struct capability *const *capabilities,
                        void (*visit)(const struct table *table, struct buf *out),
                        struct buf *out) {
    for (; *capabilities; capabilities++)
        for (const struct table *const *t = (*capabilities)->tables; t && *t; t++)
            visit(*t, out);
}

void reporting_sql(const struct capability *const *capabilities, struct buf *out) {
    reporting_status(out);
    tables_each(capabilities, reporting_view, out);
}

/* --- what there is ------------------------------------------------------------------------ */

static const char *type_name(const struct table_column *column) {
    return column->kind == COLUMN_TEXT ? "text" : "integer";
}

static const char *added_help(const struct table_column *column) {
    return column->unit == UNIT_INSTANT_US ? "The same as RFC 3339 in UTC"
                                           : "The same as a decimal in `currency`";
}

static void table_markdown(const struct table *table, struct buf *out) {
    char added[128];
    buf_printf(out, "\n### report_%s\n\n%s. Key:", table->name, table->help);
    for (uint32_t i = 0; i < table->key_columns; i++)
        buf_printf(out, "%s `%s`", i > 0 ? "," : "", table->columns[i].name);
    buf_lit(out, ".\n\n| column | type | what |\n| --- | --- | --- |\n");
    for (uint32_t i = 0; i < table->count; i++) {
        const struct table_column *column = &table->columns[i];
        buf_printf(out, "| `%s` | %s | %s |\n", column->name, type_name(column), column->help);
        if (added_name(column, added, sizeof added))
            buf_printf(out, "| `%s` | text | %s |\n", added, added_help(column));
    }
}

void reporting_markdown(const struct capability *const *capabilities, struct buf *out) {
    buf_lit(out, "### report_status\n\nOne row.\n\n| column | type | what |\n| --- | --- | --- |\n"
                 "| `seq` | integer | All views reflect the journal's events up to this one |\n");
    tables_each(capabilities, table_markdown, out);
}

static void column_json(const char *name, const char *type, const char *help, bool first,
                        struct buf *out) {
    buf_printf(out, "%s{\"name\":\"%s\",\"type\":\"%s\",\"help\":", first ? "" : ",", name, type);
    buf_json_str(out, str_c(help));
    buf_char(out, '}');
}

static void table_json(const struct table *table, struct buf *out) {
    char added[128];
    buf_printf(out, ",{\"view\":\"report_%s\",\"help\":", table->name);
    buf_json_str(out, str_c(table->help));
    buf_lit(out, ",\"columns\":[");
    for (uint32_t i = 0; i < table->count; i++) {
        const struct table_column *column = &table->columns[i];
        column_json(column->name, type_name(column), column->help, i == 0, out);
        if (added_name(column, added, sizeof added))
            column_json(added, "text", added_help(column), false, out);
    }
    buf_lit(out, "]}");
}

void reporting_json(const struct capability *const *capabilities, struct buf *out) {
    buf_lit(out, "{\"views\":[{\"view\":\"report_status\",\"help\":\"One row\",\"columns\":[");
    column_json("seq", "integer", "All views reflect the journal's events up to this one", true,
                out);
    buf_lit(out, "]}");
    tables_each(capabilities, table_json, out);
    buf_lit(out, "]}\n");
}
