-- name: pay_buckets
-- The next pay orders by id, which is by time, cut into buckets; of each what this merchant has there.
-- Written so that trade's `trade_buckets` comes to the same.
SELECT id / $4 AS bucket, max(id) AS last_id,
       count(*) FILTER (WHERE merchant_id = $1) AS orders,
       coalesce(sum(('x' || left(md5(concat_ws('|', biz_order_no, id, payer_id, amount, currency,
           refunded_amount, CASE WHEN refunded_amount = amount THEN 'refunded' WHEN status = 3 THEN 'paid'
               WHEN status = 2 THEN 'closed' ELSE 'open' END)), 16))::bit(64)::bigint)
           FILTER (WHERE merchant_id = $1), 0)::text AS digest
FROM (SELECT * FROM pay_orders WHERE id > $2 ORDER BY id LIMIT $3) AS chunk
GROUP BY bucket
ORDER BY bucket;

-- name: pay_entries_between
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel
FROM pay_orders WHERE merchant_id = $1 AND id > $2 AND id <= $3 ORDER BY id;

-- name: waiting_events
-- Those of these events that still have to be published.
SELECT DISTINCT event_id FROM unpublished_events WHERE event_id = ANY($1::text[]);

-- name: turn_due
SELECT NOT EXISTS (SELECT FROM schedules WHERE name = $2 AND due_at > clock_timestamp());

-- name: take_turn
-- One process gets a row, and the work is due again after so many seconds.
INSERT INTO schedules (name, due_at)
VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (name) DO UPDATE SET due_at = EXCLUDED.due_at WHERE schedules.due_at <= clock_timestamp()
RETURNING name;

-- name: note_found
UPDATE schedules SET found = $2 WHERE name = $1;

-- name: forget_found
DELETE FROM found_differences WHERE merchant_id = $1;

-- name: list_found
INSERT INTO found_differences (merchant_id, biz_order_no, pay_order_id, kind)
SELECT $1, * FROM unnest($2::bigint[], $3::bigint[], $4::text[])
ON CONFLICT DO NOTHING;

-- name: found_last
SELECT found FROM schedules WHERE name = $1;

-- name: refunded_at
SELECT pay_order_id, max(created_at) AS refunded_at FROM refunds WHERE pay_order_id = ANY($1::bigint[]) GROUP BY pay_order_id;

-- name: transfer_before
-- A transfer's id so that all made at $1 or later have higher ones: halved by the primary key, because no index on the
-- time of transfers is worth what it costs whoever pays.
WITH RECURSIVE halves (low, high) AS (
    SELECT 0::bigint, coalesce(max(id), 0) FROM transfers
    UNION ALL
    SELECT CASE WHEN early THEN middle ELSE low END, CASE WHEN early THEN high ELSE middle END
    FROM halves
    CROSS JOIN LATERAL (SELECT (low + high) / 2 AS middle) AS cut
    CROSS JOIN LATERAL (
        SELECT coalesce((SELECT created_at FROM transfers WHERE id <= middle ORDER BY id DESC LIMIT 1) < $1, true) AS early
    ) AS probe
    WHERE high - low > 1
)
SELECT max(low) AS id FROM halves;

-- name: money_moved
-- The next transfers, and the older pay orders that they paid or refunded.
WITH chunk AS (
    SELECT id, CASE kind WHEN 'payment' THEN reference::bigint END AS paid,
           CASE kind WHEN 'refund' THEN reference::bigint END AS refund
    FROM transfers WHERE id > $2 ORDER BY id LIMIT $4
), older AS (
    SELECT paid AS id FROM chunk WHERE paid <= $3
    UNION SELECT refunds.pay_order_id FROM chunk JOIN refunds ON refunds.id = chunk.refund WHERE refunds.pay_order_id <= $3
)
SELECT (SELECT max(id) FROM chunk) AS last_id,
       ARRAY(SELECT biz_order_no FROM pay_orders JOIN older USING (id) WHERE merchant_id = $1) AS numbers;

-- name: closed_since
SELECT id, biz_order_no, closed_at FROM pay_orders
WHERE merchant_id = $1 AND (closed_at, id) > ($2, $3) AND id <= $4
ORDER BY closed_at, id LIMIT $5;

-- name: page_of_pay_orders
-- Where the next so many pay orders end.
SELECT max(id) AS last_id FROM (SELECT id FROM pay_orders WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: changed_pay_orders
-- Of these, the ones that were paid, closed or refunded in a period.
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel
FROM pay_orders
WHERE id > $1 AND id <= $2
  AND (coalesce(succeeded_at, closed_at) >= $3 AND coalesce(succeeded_at, closed_at) < $4
       OR EXISTS (SELECT 1 FROM refunds
                  WHERE pay_order_id = pay_orders.id AND refunds.created_at >= $3 AND refunds.created_at < $4))
ORDER BY id;
