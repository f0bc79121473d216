// What AsyncAPI's own parser has to say about a document: one line for each complaint.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const { diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
for (const { code, message, path } of diagnostics) {
	console.log(`${path.join(".")}: ${code}: ${message}`);
}
