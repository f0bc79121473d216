// A listener in Node: gives a point for each whole unit of money that was paid, once for each payment.
//
//     npm install amqplib        (Node 22.13 or newer; its SQLite stands for your own database)
//     LISTENER_AMQP_URL=amqp://localhost LISTENER_KEYS=2026a:… node examples/listener.mjs points.db
//
// LISTENER_KEYS is what PAYBELL_EVENT_KEYS is at Paybell. Three things make it safe. Nothing is applied, and no id
// remembered, before the signature is verified. The effect and the id of its event are one transaction, so an event that
// comes again changes nothing. And a message is acknowledged after the commit, never before: whatever ends this
// process, what it had not finished comes again. Let a supervisor start it anew.

import { createHmac, timingSafeEqual } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import amqp from "amqplib";

const EXCHANGE = "pay.events";
const QUEUE = "points.queue";
const PAID = "pay.success";
const TABLES = `
CREATE TABLE IF NOT EXISTS inbox (event_id TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS points (user_id TEXT PRIMARY KEY, points INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS aside (body BLOB NOT NULL, reason TEXT NOT NULL);`;

const hmac = (key, covered) => createHmac("sha256", key).update(covered).digest();

// keys: a Map of id to secret. What is no text of the form id:mac does not verify.
function verifies(keys, body, signature) {
  const [id, mac = ""] = String(signature ?? "").split(":");
  const secret = keys.get(id);
  if (secret === undefined) return false;
  const wanted = Buffer.from(hmac(hmac(secret, "paybell pay.events v1"), body).toString("hex"));
  const given = Buffer.from(mac);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

// In the transaction of the caller; ids are strings, amounts whole minor units.
function apply(database, event) {
  const fresh = database.prepare("INSERT INTO inbox VALUES (?) ON CONFLICT DO NOTHING").run(event.id);
  if (fresh.changes === 0) return;
  const { payerId, amount } = event.data;
  database
    .prepare("INSERT INTO points VALUES (?, ?) ON CONFLICT DO UPDATE SET points = points + excluded.points")
    .run(payerId, Math.floor(amount / 100));
}

function take(database, keys, message) {
  const signed = verifies(keys, message.content, message.properties.headers?.["paybell-signature"]);
  const event = signed ? JSON.parse(message.content.toString("utf8")) : null;
  // The routing key is not signed; what happened is the event's own type.
  if (event?.type !== PAID) {
    // A person looks at it. It must not come again for ever, and must not be lost.
    const reason = signed ? "not_a_payment" : "not_signed";
    database.prepare("INSERT INTO aside VALUES (?, ?)").run(message.content, reason);
    return;
  }
  database.exec("BEGIN IMMEDIATE");
  try {
    apply(database, event);
    database.exec("COMMIT");
  } catch (error) {
    database.exec("ROLLBACK");
    throw error;
  }
}

const { LISTENER_AMQP_URL, LISTENER_KEYS } = process.env;
const keys = new Map(LISTENER_KEYS.split(",").map((one) => one.split(/:(.*)/s, 2)));
const database = new DatabaseSync(process.argv[2]);
// Whoever reads it for a moment is waited for: without, a write that meets them would end this process.
database.exec("PRAGMA busy_timeout = 5000");
database.exec(TABLES);

const connection = await amqp.connect(LISTENER_AMQP_URL);
let stopping = false;
connection.on("close", () => process.exit(stopping ? 0 : 1));
connection.on("error", (error) => console.error(error.message));
process.on("SIGTERM", () => {
  stopping = true;
  connection.close();
});

const channel = await connection.createChannel();
await channel.assertExchange(EXCHANGE, "topic", { durable: true });
// In a cluster let a policy make it a quorum queue; there RabbitMQ 4 drops what came 20 times, unless the policy says -1.
await channel.assertQueue(QUEUE, { durable: true });
await channel.bindQueue(QUEUE, EXCHANGE, PAID);
await channel.prefetch(100);
await channel.consume(QUEUE, (message) => {
  if (message === null) process.exit(1); // somebody removed the queue
  take(database, keys, message);
  channel.ack(message);
});
console.log("listening");
