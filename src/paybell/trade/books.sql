-- name: trade_buckets
-- Orders by their pay orders' ids, cut as pay cuts them; written so that both come to the same.
SELECT pay_order_id / $3 AS bucket, count(*) AS orders,
       sum(('x' || left(md5(concat_ws('|', id, pay_order_id, buyer_id, total_fee, currency,
           refunded_amount, CASE WHEN refunded_amount = total_fee THEN 'refunded' WHEN status = 'UNPAID' THEN 'open'
               WHEN status = 'CANCELLED' THEN 'closed' ELSE 'paid' END)), 16)
           )::bit(64)::bigint)::text AS digest
FROM orders
WHERE pay_order_id > $1 AND pay_order_id <= $2
GROUP BY bucket;

-- name: trade_entries_between
-- A page of them; $3 is the last order id seen.
SELECT * FROM orders
WHERE pay_order_id > $1 AND pay_order_id <= $2 AND id > $3
ORDER BY id LIMIT $4;

-- name: paid_entries_without_pay_order
SELECT * FROM orders
WHERE pay_order_id IS NULL AND status NOT IN ('UNPAID', 'CANCELLED') AND id > $1
ORDER BY id LIMIT $2;

-- name: forget_unapplied
-- The inbox remembers an event whose effect is not there: its order is unpaid. One statement sees
-- both or neither of what a listener's transaction writes, so nothing under way is forgotten.
DELETE FROM inbox
USING unnest($2::text[], $3::bigint[]) AS remembered (event_id, order_id)
JOIN orders ON orders.id = remembered.order_id AND orders.status = 'UNPAID'
WHERE inbox.listener = $1 AND inbox.event_id = remembered.event_id
RETURNING remembered.order_id;
