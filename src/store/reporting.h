/* reporting: the read model as people may query it with SQLite: a view per table, with times and
 * amounts a person can read. The tables beneath may change with any version; of the views, named
 * report_…, columns are only ever added.
 *
 * A view has the table's columns and, by their unit, one more each: of "captured_us" also
 * "captured_at", RFC 3339 in UTC; of "grand", in minor units, "grand_amount", the decimal text in
 * the currency of the column "currency" (ISO 4217). */
#ifndef PENSTOCK_STORE_REPORTING_H
#define PENSTOCK_STORE_REPORTING_H

#include "base/buf.h"
#include "core/capability.h"

/* "CREATE VIEW report_orders AS …;" */
void reporting_view(const struct table *table, struct buf *out);
/* "CREATE VIEW report_status AS …;": one row that says what the tables reflect. */
void reporting_status(struct buf *out);
/* What there is to query, for docs/reporting.md (Markdown), or as one JSON object. */
void reporting_markdown(const struct capability *const *capabilities, struct buf *out);
void reporting_json(const struct capability *const *capabilities, struct buf *out);
/* All views as SQL. */
void reporting_sql(const struct capability *const *capabilities, struct buf *out);

#endif
