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
SELECT * FROM pay_orders WHERE merchant_id = $1 AND id > $2 AND id <= $3 ORDER BY id;

-- name: waiting_events
-- Those of these events that still have to be published.
SELECT DISTINCT event_id FROM unpublished_events WHERE event_id = ANY($1::text[]);

-- name: take_turn
-- One process gets a row, and the work is due again after so many seconds.
INSERT INTO schedules (name, due_at)
VALUES ($1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (name) DO UPDATE SET due_at = EXCLUDED.due_at WHERE schedules.due_at <= clock_timestamp()
RETURNING name;

-- name: note_found
UPDATE schedules SET found = $2 WHERE name = $1;

-- name: found_last
SELECT found FROM schedules WHERE name = $1;
