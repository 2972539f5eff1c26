// A Vendure server as small as it gets: PostgreSQL, both APIs, the plug-in that tells the hub; no
// assets, no e-mail, no pages. Plain JavaScript, nothing to compile.
//
// VENDURE_PORT, VENDURE_PG_PORT, VENDURE_DB: where. VENDURE_SCHEMA=1: makes the tables first.
// PENSTOCK_VENDURE_HOOK, PENSTOCK_VENDURE_SECRET: see webhook.js.
'use strict';

globalThis.crypto ??= require('crypto').webcrypto; // Node 18 has it under this name alone

const { bootstrap, DefaultLogger, LogLevel, dummyPaymentHandler } = require('@vendure/core');
const { HubWebhookPlugin } = require('./webhook');

const config = {
  apiOptions: { hostname: '127.0.0.1', port: Number(process.env.VENDURE_PORT), adminApiPath: 'admin-api',
    shopApiPath: 'shop-api' },
  authOptions: { tokenMethod: ['bearer', 'api-key'], requireVerification: false,
    superadminCredentials: { identifier: 'shopadmin', password: 'Shop-Admin-7' } },
  dbConnectionOptions: { type: 'postgres', host: '127.0.0.1', port: Number(process.env.VENDURE_PG_PORT),
    username: 'postgres', password: '', database: process.env.VENDURE_DB,
    synchronize: process.env.VENDURE_SCHEMA === '1', logging: false, extra: { max: 10 } },
  paymentOptions: { paymentMethodHandlers: [dummyPaymentHandler] },
  logger: new DefaultLogger({ level: LogLevel.Warn }),
  plugins: [HubWebhookPlugin],
};

bootstrap(config).catch((error) => {
  console.error(error);
  process.exit(1);
});
