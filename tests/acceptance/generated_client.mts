// A shop's program, on the types that openapi-typescript makes of the OpenAPI document.
// Run as: node generated_client.mts URL USER PAY_PASSWORD SHOP_TOKEN BUYER_TOKEN; it prints what it was answered.
import createClient from "openapi-fetch";
import type { paths } from "./paybell.d.ts";

declare const process: { argv: string[] };
const [url, userId, payPassword, shopToken, buyerToken] = process.argv.slice(2);

function clientOf(token: string) {
  return createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
}

const shop = clientOf(shopToken);
const buyer = clientOf(buyerToken);
await shop.POST("/wallets", { body: { userId, payPassword } });
await shop.POST("/wallets/{user_id}/top-ups", {
  params: { path: { user_id: userId }, header: { "Idempotency-Key": `generated-${userId}` } },
  body: { amount: 100 },
});
const ordered = await shop.POST("/orders", { body: { buyerId: userId, totalFee: 100 } });
if (!ordered.data?.payOrderId) throw new Error(ordered.error?.code);
const { id, payOrderId } = ordered.data;

const path = { pay_order_id: payOrderId };
const wrong = await buyer.POST("/pay-orders/{pay_order_id}/pay", { params: { path }, body: { payPassword: "000000" } });
const paid = await buyer.POST("/pay-orders/{pay_order_id}/pay", { params: { path }, body: { payPassword } });
const wallet = await buyer.GET("/wallets/{user_id}", { params: { path: { user_id: userId } } });

// Each of these is typed: a status that is not in the document does not compile.
const succeeded: boolean = paid.data?.status === "TRADE_SUCCESS";
console.log(JSON.stringify({ id, refusal: wrong.error?.code, succeeded, balance: wallet.data?.balance }));
