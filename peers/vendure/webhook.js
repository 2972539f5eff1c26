// The plug-in for a Vendure shop: tells the hub of each order that is placed or changes its state, with a
// signed POST of the whole order, in the form in which the Admin API answers it: what the hub is
// told and what it reads by itself is one document. Copy this file into the shop's project and name
// HubWebhookPlugin among its `plugins`.
//
// PENSTOCK_VENDURE_HOOK    the hub's address, https://HUB/x/vendure; without it nothing is sent
// PENSTOCK_VENDURE_SECRET  signs: X-Penstock-Signature is the HMAC-SHA256 of the body, in hex
//
// Sent after the change is committed, tried a few times. A message that is lost is no loss: the
// hub reads the changed orders, too.
'use strict';

const crypto = require('crypto');
const { EventBus, Logger, OrderPlacedEvent, OrderService, OrderStateTransitionEvent, PluginCommonModule,
  VendurePlugin } = require('@vendure/core');

const HOOK = process.env.PENSTOCK_VENDURE_HOOK;
const SECRET = process.env.PENSTOCK_VENDURE_SECRET || '';
const PAUSES_MS = [0, 200, 1000];
const TIMEOUT_MS = 5000;
const RELATIONS = ['lines', 'lines.productVariant', 'shippingLines', 'shippingLines.shippingMethod', 'surcharges',
  'payments', 'customer', 'customer.user', 'channels', 'promotions', 'fulfillments', 'fulfillments.lines'];

const text = (value) => (value === null || value === undefined ? null : String(value));
const discount = (d) => ({ adjustmentSource: d.adjustmentSource, type: d.type, description: d.description,
  amount: d.amount, amountWithTax: d.amountWithTax });
const taxLine = (t) => ({ description: t.description, taxRate: t.taxRate });

function address(from) {
  const names = ['fullName', 'company', 'streetLine1', 'streetLine2', 'city', 'province', 'postalCode', 'country',
    'countryCode', 'phoneNumber'];
  return Object.fromEntries(names.map((name) => [name, (from && from[name]) || null]));
}

function line(l) {
  return { id: text(l.id), quantity: l.quantity, orderPlacedQuantity: l.orderPlacedQuantity, taxRate: l.taxRate,
    unitPrice: l.unitPrice, unitPriceWithTax: l.unitPriceWithTax,
    proratedUnitPriceWithTax: l.proratedUnitPriceWithTax,
    linePrice: l.linePrice, linePriceWithTax: l.linePriceWithTax,
    proratedLinePrice: l.proratedLinePrice, proratedLinePriceWithTax: l.proratedLinePriceWithTax,
    productVariant: { id: text(l.productVariant.id), sku: l.productVariant.sku, name: l.productVariant.name },
    taxLines: l.taxLines.map(taxLine), discounts: l.discounts.map(discount) };
}

// As the query of connectors/vendure/connector.yaml asks for it.
function order(o) {
  return { id: text(o.id), code: o.code, type: o.type, state: o.state, active: o.active,
    orderPlacedAt: o.orderPlacedAt, createdAt: o.createdAt, updatedAt: o.updatedAt,
    currencyCode: o.currencyCode, couponCodes: o.couponCodes,
    channels: o.channels.map((c) => ({ code: c.code })),
    customer: o.customer && { id: text(o.customer.id), title: o.customer.title, firstName: o.customer.firstName,
      lastName: o.customer.lastName, emailAddress: o.customer.emailAddress, phoneNumber: o.customer.phoneNumber,
      user: o.customer.user ? { id: text(o.customer.user.id) } : null },
    shippingAddress: address(o.shippingAddress), billingAddress: address(o.billingAddress),
    lines: o.lines.map(line),
    surcharges: o.surcharges.map((s) => ({ id: text(s.id), description: s.description, sku: s.sku, price: s.price,
      priceWithTax: s.priceWithTax, taxRate: s.taxRate, taxLines: s.taxLines.map(taxLine) })),
    discounts: o.discounts.map(discount),
    shippingLines: o.shippingLines.map((s) => ({ id: text(s.id), discountedPrice: s.discountedPrice,
      discountedPriceWithTax: s.discountedPriceWithTax,
      shippingMethod: s.shippingMethod && { code: s.shippingMethod.code, name: s.shippingMethod.name } })),
    subTotal: o.subTotal, subTotalWithTax: o.subTotalWithTax, shipping: o.shipping,
    shippingWithTax: o.shippingWithTax, total: o.total, totalWithTax: o.totalWithTax,
    taxSummary: o.taxSummary.map((t) => ({ description: t.description, taxRate: t.taxRate, taxBase: t.taxBase,
      taxTotal: t.taxTotal })),
    payments: o.payments.map((p) => ({ id: text(p.id), method: p.method, amount: p.amount, state: p.state,
      transactionId: p.transactionId })),
    modifications: [] };
}

class HubWebhookPlugin {
  constructor(bus, orders) {
    this.bus = bus;
    this.orders = orders;
  }

  onApplicationBootstrap() {
    if (!HOOK) return;
    this.bus.ofType(OrderPlacedEvent).subscribe((event) => this.tell(event, 'orders'));
    this.bus.ofType(OrderStateTransitionEvent).subscribe((event) => {
      if (event.toState === 'Cancelled') this.tell(event, 'orders-cancelled');
    });
  }

  async tell(event, topic) {
    try {
      const found = await this.orders.findOne(event.ctx, event.order.id, RELATIONS);
      if (found && found.orderPlacedAt) await this.post(topic, JSON.stringify(order(found)));
    } catch (error) {
      Logger.warn(`order ${event.order.code}: ${error.message}`, 'HubWebhook');
    }
  }

  async post(topic, body) {
    const signature = crypto.createHmac('sha256', SECRET).update(body).digest('hex');
    let failed;
    for (const pause of PAUSES_MS) {
      await new Promise((resolve) => { setTimeout(resolve, pause); });
      try {
        const answer = await fetch(`${HOOK}/${topic}`, { method: 'POST', body, signal: AbortSignal.timeout(TIMEOUT_MS),
          headers: { 'Content-Type': 'application/json', 'X-Penstock-Signature': signature } });
        if (answer.ok) return;
        failed = new Error(`the hub answers ${answer.status}`);
      } catch (error) {
        failed = error;
      }
    }
    throw failed;
  }
}

// What TypeScript's decorators would write.
Reflect.defineMetadata('design:paramtypes', [EventBus, OrderService], HubWebhookPlugin);
VendurePlugin({ imports: [PluginCommonModule], compatibility: '^3.0.0' })(HubWebhookPlugin);

module.exports = { HubWebhookPlugin };
