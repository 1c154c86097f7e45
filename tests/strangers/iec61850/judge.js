// Reads SCL files named as arguments, and prints what the name space definitions of IEC 61850 find wrong with each.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

const { DOMParser, Element, Node } = new JSDOM("").window;
Object.assign(globalThis, { DOMParser, Element, Node });
// The validator was written for browsers: its definitions lie beside it.
globalThis.fetch = async (url) => ({ text: async () => readFileSync(new URL(url), "utf8") });
const { validate } = await import("@openenergytools/scl-template-validator");

const found = {};
for (const file of process.argv.slice(2)) {
  const document = new DOMParser().parseFromString(readFileSync(file, "utf8"), "application/xml");
  const words = new Set();
  for await (const issues of validate(document)) {
    for (const issue of issues) words.add(`${issue.title}: ${issue.message}`);
  }
  found[file] = [...words].sort();
}
console.log(JSON.stringify(found));
