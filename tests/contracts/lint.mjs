// Judges an OpenAPI and an AsyncAPI document: Spectral's own rule sets, all of their rules, and
// AsyncAPI's parser. Prints a line per finding. Usage: node lint.mjs FOLDER OPENAPI ASYNCAPI, where
// FOLDER has the node_modules.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const [folder, openapi, asyncapi] = process.argv.slice(2);
const require = createRequire(path.join(folder, "here.js"));
const { Spectral, Document } = require("@stoplight/spectral-core");
const parsers = require("@stoplight/spectral-parsers");
const rulesets = require("@stoplight/spectral-rulesets");
const { Parser } = require("@asyncapi/parser");

// Rules that are switched off, each with its reason.
const off = {
  oas: {
    // There is no mailbox to name: contact is the site.
    "contact-properties": "off",
  },
  asyncapi: {
    // As above.
    "asyncapi-info-contact-properties": "off",
    // 3.0 says all we need, and more tools read it than 3.1.
    "asyncapi-latest-version": "off",
  },
};
const SEVERITIES = ["error", "warning", "information", "hint"];

function say(tool, file, finding) {
  console.log(`${path.basename(file)}: ${tool}: ${SEVERITIES[finding.severity]}: ${finding.code} at ` +
    `/${finding.path.join("/")}: ${finding.message}`);
}

for (const [name, file] of [["oas", openapi], ["asyncapi", asyncapi]]) {
  const spectral = new Spectral();
  spectral.setRuleset({ extends: [[rulesets[name], "all"]], rules: off[name] });
  const text = fs.readFileSync(file, "utf8");
  for (const finding of await spectral.run(new Document(text, parsers.Json, file)))
    say(`spectral:${name}`, file, finding);
}
const parser = new Parser();
const { document, diagnostics } = await parser.parse(fs.readFileSync(asyncapi, "utf8"));
for (const finding of diagnostics)
  if (!(finding.code in off.asyncapi))
    say("asyncapi-parser", asyncapi, finding);
if (!document)
  console.log(`${path.basename(asyncapi)}: asyncapi-parser: error: it is no document`);
