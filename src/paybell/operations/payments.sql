-- name: not_delivered
-- Pay orders with an event that waits to be published, or that the last comparison listed: looked for among the newest
-- 10,000 of each, so that a backlog does not make it slow. Parameters as in the lists of pay orders.
WITH named AS MATERIALIZED (
    SELECT split_part(event_id, '-', 1)::bigint AS id
    FROM (SELECT event_id FROM outbox ORDER BY id DESC LIMIT 10000) AS waiting
    UNION
    SELECT split_part(event_id, '-', 1)::bigint
    FROM (SELECT event_id FROM refused_events ORDER BY id DESC LIMIT 10000) AS refused
    UNION
    SELECT pay_order_id FROM found_differences
)
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel, false AS edge FROM pay_orders
WHERE id = ANY(ARRAY(SELECT id FROM named WHERE id >= $1 AND id < $2))
  AND created_at >= $3 AND created_at < $4 AND amount >= $5 AND amount <= $6
  AND ($7::smallint IS NULL OR status = $7) AND ($8::text IS NULL OR merchant_id = $8)
  AND ($9::text IS NULL OR payer_id = $9)
ORDER BY id DESC LIMIT $10;
