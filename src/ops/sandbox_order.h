/* sandbox_order: the sales order document of the stand-in ERP, read and checked as an ERP does:
 * amounts are decimal text in the order's currency, and everything must add up. */
#ifndef PENSTOCK_OPS_SANDBOX_ORDER_H
#define PENSTOCK_OPS_SANDBOX_ORDER_H

#include "base/json.h"
#include "ops/sandbox_books.h"

/*  {"external_id":"ord_…","channel":"web-de","channel_reference":"10045","currency":"EUR",
 *   "tax_included":true,
 *   "lines":[{"line":"1","item":"TEE","quantity":"2","amount":"39.98"}],
 *   "charges":[{"code":"parcel","amount":"4.90"}],
 *   "totals":{"lines":"39.98","charges":"4.90","tax":"7.16","rounding":"0.00","grand":"44.88"}}
 *
 * lines = Σ line amounts; charges = Σ charge amounts; grand = lines + charges + rounding, + tax
 * where it is not included. Other members are passed over. ERR_INVALID with a sentence. Texts of
 * *out point into doc. */
enum err sandbox_order_read(const struct json *doc, struct booked *out,
                            struct fault *fault) WARN_UNUSED;

#endif
