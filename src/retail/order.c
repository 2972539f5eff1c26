/* order: the tables of the canonical order, see order.h. What they can not say is in
 * order_check.c. */
#include "retail/order.h"

#include "retail/limits.h"

#define AT(type, member) .offset = offsetof(struct type, member), .since = 1
#define AMOUNT .kind = SHAPE_MONEY, .min = 0, .max = MONEY_MAX
#define SIGNED_AMOUNT .kind = SHAPE_MONEY, .min = -MONEY_MAX, .max = MONEY_MAX

static const struct shape_field tax_line_fields[] = {
    [TAX_CODE] = {.name = "code", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED, AT(tax_line, code),
                  .owner = "tax", .help = "The tax code, such as DE-STD"},
    [TAX_RATE] = {.name = "rate", .kind = SHAPE_RATE, AT(tax_line, rate), .min = 0,
                  .max = 100 * RATE_ONE, .owner = "tax", .help = "The rate: 0.19 is 19 percent"},
    [TAX_BASE] = {.name = "base", SIGNED_AMOUNT, AT(tax_line, base), .owner = "channel",
                  .help = "The amount the rate applies to, without this tax"},
    [TAX_AMOUNT] = {.name = "amount", SIGNED_AMOUNT, .flags = SHAPE_REQUIRED,
                    AT(tax_line, amount), .owner = "channel", .help = "The tax, as charged"},
    [TAX_JURISDICTION] = {.name = "jurisdiction", .kind = SHAPE_ID, AT(tax_line, jurisdiction),
                          .owner = "tax", .help = "Who levies it, where the code does not say"},
};
SHAPE_DEFINE(tax_line_shape, "tax_line", struct tax_line, "One tax on one line", tax_line_fields);

static const struct shape_field order_line_fields[] = {
    [LINE_LINE_ID] = {.name = "line_id", .kind = SHAPE_ID, AT(order_line, line_id), .max = 64,
                      .owner = "channel",
                      .help = "Unique within the order. Default: its position, from 1"},
    [LINE_SKU] = {.name = "sku", .kind = SHAPE_ID, .flags = SHAPE_REQUIRED, AT(order_line, sku),
                  .owner = "pim", .help = "The article"},
    [LINE_NAME] = {.name = "name", .kind = SHAPE_TEXT, AT(order_line, name), .max = 500,
                   .owner = "channel", .help = "What the customer saw"},
    [LINE_QUANTITY] = {.name = "quantity", .kind = SHAPE_DECIMAL, .flags = SHAPE_REQUIRED,
                       AT(order_line, quantity), .min = 1, .max = QUANTITY_MAX,
                       .owner = "channel", .help = "How many, more than 0"},
    [LINE_UNIT_PRICE] = {.name = "unit_price", AMOUNT, .flags = SHAPE_REQUIRED,
                         AT(order_line, unit_price), .owner = "channel",
                         .help = "The price of price_quantity units"},
    [LINE_PRICE_QUANTITY] = {.name = "price_quantity", .kind = SHAPE_DECIMAL,
                             AT(order_line, price_quantity), .min = 1, .max = QUANTITY_MAX,
                             .owner = "channel",
                             .help = "Units that unit_price is for; 1000 carries prices below a "
                                     "cent. Default: 1"},
    [LINE_DISCOUNT] = {.name = "discount", AMOUNT, AT(order_line, discount), .owner = "channel",
                       .help = "Of the whole line. Default: 0"},
    [LINE_TOTAL] = {.name = "total", AMOUNT, .flags = SHAPE_REQUIRED, AT(order_line, total),
                    .owner = "channel",
                    .help = "quantity x unit_price / price_quantity, rounded (half up), less "
                            "discount"},
    [LINE_TAXES] = {.name = "taxes", .kind = SHAPE_LIST, AT(order_line, taxes), .max = TAXES_MAX,
                    .shape = &tax_line_shape, .owner = "channel", .help = "Taxes on the line"},
    [LINE_RESERVATION_ID] = {.name = "reservation_id", .kind = SHAPE_ID,
                             AT(order_line, reservation_id), .owner = "hub",
                             .help = "The reservation that this line turns into a commitment"},
    [LINE_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(order_line, ext), .privacy = PERSONAL,
                  .help = "Anything else; passed on"},
};
SHAPE_DEFINE(order_line_shape, "order_line", struct order_line, "An article sold",
             order_line_fields);

static const struct shape_field shipping_line_fields[] = {
    [SHIPPING_LINE_ID] = {.name = "line_id", .kind = SHAPE_ID, AT(shipping_line, line_id),
                          .max = 64, .owner = "channel",
                          .help = "Unique within shipping. Default: s and its position, from 1"},
    [SHIPPING_METHOD] = {.name = "method", .kind = SHAPE_ID, AT(shipping_line, method),
                         .owner = "channel", .help = "How it is shipped"},
    [SHIPPING_TOTAL] = {.name = "total", AMOUNT, .flags = SHAPE_REQUIRED,
                        AT(shipping_line, total), .owner = "channel", .help = "What it costs"},
    [SHIPPING_TAXES] = {.name = "taxes", .kind = SHAPE_LIST, AT(shipping_line, taxes),
                        .max = TAXES_MAX, .shape = &tax_line_shape, .owner = "channel",
                        .help = "Taxes on it"},
};
SHAPE_DEFINE(shipping_line_shape, "shipping_line", struct shipping_line, "A shipping charge",
             shipping_line_fields);

const char *const tender_states[] = {"authorised", "captured", "voided",
                                     "failed",     "expired",  NULL};

static const struct shape_field tender_fields[] = {
    [TENDER_TENDER_ID] = {.name = "tender_id", .kind = SHAPE_ID, AT(tender, tender_id), .max = 64,
                          .owner = "channel",
                          .help = "Unique within the order. Default: t and its position, from 1"},
    [TENDER_KIND] = {.name = "kind", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                     AT(tender, kind), .owner = "channel",
                     .help = "card, cash, gift_card, invoice …"},
    [TENDER_AMOUNT] = {.name = "amount", AMOUNT, .flags = SHAPE_REQUIRED, AT(tender, amount),
                       .owner = "channel", .help = "What is paid with it; may be 0"},
    [TENDER_REFERENCE] = {.name = "reference", .kind = SHAPE_ID, AT(tender, reference),
                          .owner = "payment", .help = "The payment system's number of it"},
    [TENDER_STATE] = {.name = "state", .kind = SHAPE_ENUM, AT(tender, state),
                      .values = tender_states, .owner = "payment", .help = "How far it has got"},
};
SHAPE_DEFINE(tender_shape, "tender", struct tender, "A means of payment used", tender_fields);

static const struct shape_field order_customer_fields[] = {
    [CUSTOMER_CUSTOMER_ID] = {.name = "customer_id", .kind = SHAPE_ID,
                              AT(order_customer, customer_id), .owner = "crm",
                              .help = "The customer's number; none for a guest"},
    [CUSTOMER_EMAIL] = {.name = "email", .kind = SHAPE_ID, AT(order_customer, email), .max = 254,
                        .privacy = PERSONAL, .owner = "crm", .help = "E-mail address"},
    [CUSTOMER_NAME] = {.name = "name", .kind = SHAPE_TEXT, AT(order_customer, name), .max = 500,
                       .privacy = PERSONAL, .owner = "crm", .help = "Full name"},
    [CUSTOMER_PHONE] = {.name = "phone", .kind = SHAPE_ID, AT(order_customer, phone), .max = 64,
                        .privacy = PERSONAL, .owner = "crm", .help = "Telephone number"},
};
SHAPE_DEFINE(order_customer_shape, "order_customer", struct order_customer, "Who ordered",
             order_customer_fields);

static const struct shape_field address_fields[] = {
    [ADDRESS_NAME] = {.name = "name", .kind = SHAPE_TEXT, AT(address, name), .max = 500,
                      .privacy = PERSONAL, .owner = "channel", .help = "The person"},
    [ADDRESS_COMPANY] = {.name = "company", .kind = SHAPE_TEXT, AT(address, company), .max = 500,
                         .privacy = PERSONAL, .owner = "channel", .help = "The company"},
    [ADDRESS_STREET] = {.name = "street", .kind = SHAPE_LIST, AT(address, street), .max = 10,
                        .privacy = PERSONAL, .owner = "channel",
                        .help = "Street and number, and what else goes above the city"},
    [ADDRESS_POSTAL_CODE] = {.name = "postal_code", .kind = SHAPE_TEXT, AT(address, postal_code),
                             .max = 32, .privacy = PERSONAL, .owner = "channel",
                             .help = "Postal code"},
    [ADDRESS_CITY] = {.name = "city", .kind = SHAPE_TEXT, AT(address, city), .max = 200,
                      .privacy = PERSONAL, .owner = "channel", .help = "City"},
    [ADDRESS_REGION] = {.name = "region", .kind = SHAPE_TEXT, AT(address, region), .max = 200,
                        .owner = "channel", .help = "State, province or county"},
    [ADDRESS_COUNTRY] = {.name = "country", .kind = SHAPE_CODE, AT(address, country), .max = 2,
                         .owner = "channel", .help = "ISO 3166-1 alpha-2"},
    [ADDRESS_PHONE] = {.name = "phone", .kind = SHAPE_ID, AT(address, phone), .max = 64,
                       .privacy = PERSONAL, .owner = "channel", .help = "For the carrier"},
};
SHAPE_DEFINE(address_shape, "address", struct address, "Where to", address_fields);

static const struct shape_field order_totals_fields[] = {
    [TOTALS_LINES] = {.name = "lines", AMOUNT, AT(order_totals, lines), .owner = "channel",
                      .help = "The sum of line totals. Computed where left out"},
    [TOTALS_DISCOUNT] = {.name = "discount", AMOUNT, AT(order_totals, discount),
                         .owner = "channel",
                         .help = "The sum of line discounts, for information. Computed where left "
                                 "out"},
    [TOTALS_SHIPPING] = {.name = "shipping", AMOUNT, AT(order_totals, shipping),
                         .owner = "channel",
                         .help = "The sum of shipping totals. Computed where left out"},
    [TOTALS_TAX] = {.name = "tax", SIGNED_AMOUNT, AT(order_totals, tax), .owner = "channel",
                    .help = "The sum of taxes, rounded as tax_rounding says. Computed where left "
                            "out"},
    [TOTALS_ROUNDING] = {.name = "rounding", SIGNED_AMOUNT, AT(order_totals, rounding),
                         .owner = "channel",
                         .help = "What grand has been rounded by. Default: 0"},
    [TOTALS_GRAND] = {.name = "grand", AMOUNT, .flags = SHAPE_REQUIRED, AT(order_totals, grand),
                      .owner = "channel",
                      .help = "lines + shipping + rounding, + tax where prices exclude it"},
};
SHAPE_DEFINE(order_totals_shape, "order_totals", struct order_totals, "The sums of an order",
             order_totals_fields);

static const char *const tax_roundings[] = {"line", "document", NULL};

static const struct shape_field order_fields[] = {
    [ORDER_CHANNEL] = {.name = "channel", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                       AT(order, channel), .owner = "channel", .help = "Who sold, as configured"},
    [ORDER_CHANNEL_ORDER_ID] = {.name = "channel_order_id", .kind = SHAPE_ID,
                                .flags = SHAPE_REQUIRED, AT(order, channel_order_id),
                                .owner = "channel",
                                .help = "The channel's number of it; with channel, its natural "
                                        "key"},
    [ORDER_PLACED_AT] = {.name = "placed_at", .kind = SHAPE_INSTANT, .flags = SHAPE_REQUIRED,
                         AT(order, placed_at), .owner = "channel", .help = "When it was placed"},
    [ORDER_CURRENCY] = {.name = "currency", .kind = SHAPE_CODE, .flags = SHAPE_REQUIRED,
                        AT(order, currency), .max = 3, .owner = "channel",
                        .help = "ISO 4217; all amounts are minor units of it"},
    [ORDER_PRICES_INCLUDE_TAX] = {.name = "prices_include_tax", .kind = SHAPE_BOOL,
                                  AT(order, prices_include_tax), .owner = "channel",
                                  .help = "Whether prices and totals include tax. Default: true"},
    [ORDER_TAX_ROUNDING] = {.name = "tax_rounding", .kind = SHAPE_ENUM, AT(order, tax_rounding),
                            .values = tax_roundings, .owner = "channel",
                            .help = "Whether tax is rounded per line or once per rate and "
                                    "document. Default: line"},
    [ORDER_BASE_CURRENCY] = {.name = "base_currency", .kind = SHAPE_CODE,
                             AT(order, base_currency), .max = 3, .owner = "erp",
                             .help = "ISO 4217; the currency of the books"},
    [ORDER_EXCHANGE_RATE] = {.name = "exchange_rate", .kind = SHAPE_RATE, AT(order, exchange_rate),
                             .min = 1, .max = 1000000 * RATE_ONE, .owner = "erp",
                             .help = "1 unit of currency in base_currency"},
    [ORDER_EXCHANGE_RATE_AT] = {.name = "exchange_rate_at", .kind = SHAPE_INSTANT,
                                AT(order, exchange_rate_at), .owner = "erp",
                                .help = "When the rate was taken"},
    [ORDER_EXCHANGE_RATE_SOURCE] = {.name = "exchange_rate_source", .kind = SHAPE_ID,
                                    AT(order, exchange_rate_source), .owner = "erp",
                                    .help = "Who said so"},
    [ORDER_CUSTOMER] = {.name = "customer", .kind = SHAPE_OBJECT, AT(order, customer),
                        .shape = &order_customer_shape, .help = "Who ordered"},
    [ORDER_SHIP_TO] = {.name = "ship_to", .kind = SHAPE_OBJECT, AT(order, ship_to),
                       .shape = &address_shape, .help = "Where the goods go"},
    [ORDER_BILL_TO] = {.name = "bill_to", .kind = SHAPE_OBJECT, AT(order, bill_to),
                       .shape = &address_shape, .help = "Where the invoice goes"},
    [ORDER_LINES] = {.name = "lines", .kind = SHAPE_LIST, .flags = SHAPE_REQUIRED,
                     AT(order, lines), .min = 1, .max = ORDER_LINES_MAX,
                     .shape = &order_line_shape, .help = "What was sold"},
    [ORDER_SHIPPING] = {.name = "shipping", .kind = SHAPE_LIST, AT(order, shipping), .max = 100,
                        .shape = &shipping_line_shape, .help = "Shipping charges"},
    [ORDER_TENDERS] = {.name = "tenders", .kind = SHAPE_LIST, AT(order, tenders), .max = 100,
                       .shape = &tender_shape,
                       .help = "How it is paid; need not add up to totals.grand"},
    [ORDER_TOTALS] = {.name = "totals", .kind = SHAPE_OBJECT, .flags = SHAPE_REQUIRED,
                      AT(order, totals), .shape = &order_totals_shape, .help = "The sums"},
    [ORDER_EXT] = {.name = "ext", .kind = SHAPE_OPEN, AT(order, ext), .privacy = PERSONAL,
                   .help = "Anything else; passed on"},
};
SHAPE_DEFINE(order_shape, "order", struct order, "An order as a channel took it", order_fields);
