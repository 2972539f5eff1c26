// Fills a fresh Vendure with a small retailer through its Admin API: countries, zones, German, American and
// Japanese rates, a second channel, a warehouse, the products that the hub's examples sell, ways to
// ship and to pay, coupons, and the user that the hub signs in as. fill.js http://127.0.0.1:PORT
'use strict';

const BASE = process.argv[2];
const PRODUCTS = ['TEE-RED-M', 'TEE-BLUE-L', 'MUG-BLUE', 'BAG-01', 'SKU-0001'];
let token;

async function ask(query, variables = {}, channel = undefined) {
  const answer = await fetch(`${BASE}/admin-api`, { method: 'POST', body: JSON.stringify({ query, variables }),
    headers: { 'Content-Type': 'application/json', ...(token && { Authorization: `Bearer ${token}` }),
      ...(channel && { 'vendure-token': channel }) } });
  token = answer.headers.get('vendure-auth-token') || token;
  const told = await answer.json();
  if (told.errors) throw new Error(`${query.slice(0, 80)}: ${JSON.stringify(told.errors)}`);
  const [result] = Object.values(told.data);
  if (result && result.errorCode) throw new Error(`${query.slice(0, 80)}: ${result.message}`);
  return result;
}

// createZone({…}): the mutation of that name with an input of the type that belongs to it.
const make = (name, input, channel, fields = 'id') => ask(
  `mutation($i:${name[0].toUpperCase()}${name.slice(1)}Input!){${name}(input:$i){${fields}}}`, { i: input }, channel);
const union = (type) => `...on ${type}{id} ...on ErrorResult{errorCode message}`;
const named = (name, more = {}) => [{ languageCode: 'en', name, ...more }];
const operation = (code, args = {}) => ({ code,
  arguments: Object.entries(args).map(([name, value]) => ({ name, value: String(value) })) });

async function places() {
  const zones = {};
  for (const [zone, countries] of [['Europe', { DE: 'Germany', FR: 'France' }], ['Americas', { US: 'United States' }],
    ['Asia', { JP: 'Japan' }]]) {
    const members = [];
    for (const [code, name] of Object.entries(countries)) {
      members.push((await make('createCountry', { code, enabled: true, translations: named(name) })).id);
    }
    zones[zone] = (await make('createZone', { name: zone, memberIds: members })).id;
  }
  return zones;
}

async function taxes(zones) {
  const standard = (await make('createTaxCategory', { name: 'Standard', isDefault: true })).id;
  const reduced = (await make('createTaxCategory', { name: 'Reduced' })).id;
  for (const [name, value, categoryId, zone] of [['VAT 19%', 19, standard, 'Europe'], ['VAT 7%', 7, reduced, 'Europe'],
    ['Sales tax 8.875%', 8.875, standard, 'Americas'], ['Food 0%', 0, reduced, 'Americas'],
    ['JCT 10%', 10, standard, 'Asia'], ['JCT 8%', 8, reduced, 'Asia']]) {
    await make('createTaxRate', { name, enabled: true, value, categoryId, zoneId: zones[zone] });
  }
  return { standard, reduced };
}

async function channels(zones) {
  const [home] = (await ask('{channels{items{id}}}')).items;
  await make('updateChannel', { id: home.id, defaultTaxZoneId: zones.Europe, defaultShippingZoneId: zones.Europe,
    pricesIncludeTax: true, defaultCurrencyCode: 'EUR', availableCurrencyCodes: ['EUR', 'JPY'] }, undefined,
  union('Channel'));
  const us = await make('createChannel', { code: 'us-store', token: 'us-store', defaultLanguageCode: 'en',
    pricesIncludeTax: false, defaultCurrencyCode: 'USD', availableCurrencyCodes: ['USD'],
    defaultTaxZoneId: zones.Americas, defaultShippingZoneId: zones.Americas }, undefined, union('Channel'));
  const [warehouse] = (await ask('{stockLocations{items{id}}}')).items;
  await make('updateStockLocation', { id: warehouse.id, name: 'WH-HAM', description: 'Hamburg' });
  await ask('mutation($i:AssignStockLocationsToChannelInput!){assignStockLocationsToChannel(input:$i){id}}',
    { i: { channelId: us.id, stockLocationIds: [warehouse.id] } });
  return { home: home.id, us: us.id, warehouse: warehouse.id };
}

async function products(category, made) {
  const ids = [];
  for (const [i, sku] of PRODUCTS.entries()) {
    const product = await make('createProduct', { enabled: true,
      translations: named(sku, { slug: sku.toLowerCase(), description: sku }) });
    ids.push(product.id);
    const [variant] = await ask('mutation($i:[CreateProductVariantInput!]!){createProductVariants(input:$i){id}}',
      { i: [{ productId: product.id, sku, translations: named(sku), price: 1999 - 250 * i,
        taxCategoryId: sku.startsWith('SKU') ? category.reduced : category.standard, trackInventory: 'TRUE',
        stockLevels: [{ stockLocationId: made.warehouse, stockOnHand: 1000 }] }] });
    // `prices` is taken here and not above; yen with the two digits that Vendure gives every currency
    await ask('mutation($i:[UpdateProductVariantInput!]!){updateProductVariants(input:$i){id}}',
      { i: [{ id: variant.id, prices: [{ currencyCode: 'JPY', price: 230000 + 10000 * i }] }] });
  }
  await ask('mutation($i:AssignProductsToChannelInput!){assignProductsToChannel(input:$i){id}}',
    { i: { productIds: ids, channelId: made.us, priceFactor: 1.1 } });
}

async function selling() {
  for (const [channel, prefix, tax] of [[undefined, '', 19], ['us-store', 'us-', 8.875]]) {
    for (const [code, rate] of [['parcel', 490], ['pick-up', 0]]) {
      await make('createShippingMethod', { code: prefix + code, fulfillmentHandler: 'manual-fulfillment',
        checker: operation('default-shipping-eligibility-checker', { orderMinimum: 0 }),
        calculator: operation('default-shipping-calculator', { rate, includesTax: 'auto', taxRate: tax }),
        translations: named(code, { description: '' }) }, channel);
    }
    for (const [code, automaticSettle] of [['card', true], ['card-later', false]]) {
      await make('createPaymentMethod', { code: prefix + code, enabled: true,
        handler: operation('dummy-payment-handler', { automaticSettle }),
        translations: named(code, { description: '' }) }, channel);
    }
    await make('createPromotion', { enabled: true, couponCode: `${prefix}SAVE10`, conditions: [],
      actions: [operation('order_percentage_discount', { discount: 10 })],
      translations: named('10% off', { description: '' }) }, channel, union('Promotion'));
  }
}

async function hub(made) {
  const role = await make('createRole', { code: 'hub', description: 'Integration hub',
    channelIds: [made.home, made.us], permissions: ['ReadCatalog', 'UpdateCatalog', 'ReadOrder', 'UpdateOrder',
      'ReadStockLocation', 'ReadCustomer', 'ReadSettings'] });
  await make('createAdministrator', { firstName: 'Integration', lastName: 'Hub', emailAddress: 'hub@example.org',
    password: 'Hub-Signs-In-42', roleIds: [role.id] });
}

async function main() {
  await ask(`mutation{login(username:"shopadmin",password:"Shop-Admin-7"){
    __typename ...on ErrorResult{errorCode message}}}`);
  const zones = await places();
  const category = await taxes(zones);
  const made = await channels(zones);
  await products(category, made);
  await selling();
  await hub(made);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
