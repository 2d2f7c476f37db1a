// Verifies a webhook by the official Node client's own function, and prints the event. Its argument is a JSON file with
// the headers and the body as they came, and the endpoint's secret.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const client = new OpenAI();
const { headers, body, secret } = JSON.parse(await readFile(process.argv[2], "utf8"));

const event = await client.webhooks.unwrap(body, headers, secret);
const another = body.replace("failed", "completed");
assert.notEqual(another, body);
await assert.rejects(client.webhooks.unwrap(another, headers, secret), OpenAI.InvalidWebhookSignatureError);
console.log(JSON.stringify(event));
