-- name: insert_pay_orders
-- New pay orders with their deadlines, in an order that cannot deadlock; one that exists is left as it is.
WITH inserted AS (
    INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency,
                            subject, status, version, created_at, expires_at)
    SELECT wanted.id, wanted.merchant_id, wanted.biz_order_no, wanted.payer_id, wanted.payee_account,
           wanted.amount, wanted.currency, wanted.subject, 1, 1, $10::timestamptz,
           $10::timestamptz + make_interval(secs => wanted.ttl_seconds)
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::bigint[],
                $7::text[], $8::text[], $9::int[])
        AS wanted (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency, subject,
                   ttl_seconds)
    ORDER BY wanted.biz_order_no, wanted.merchant_id
    ON CONFLICT ON CONSTRAINT one_pay_order_per_biz_order DO NOTHING
    RETURNING id, expires_at
)
INSERT INTO pay_order_deadlines (due_at, pay_order_id) SELECT expires_at, id FROM inserted;

-- name: take_due_deadlines
-- Deadlines that have passed, oldest first, with their pay orders locked; several closers share them, and
-- one whose pay order somebody else holds is left for another time.
DELETE FROM pay_order_deadlines
WHERE ctid = ANY(ARRAY(
    SELECT due.ctid FROM pay_order_deadlines AS due JOIN pay_orders ON pay_orders.id = due.pay_order_id
    WHERE due.due_at <= $1
    ORDER BY due.due_at, due.pay_order_id LIMIT $2
    FOR UPDATE OF due SKIP LOCKED
    FOR NO KEY UPDATE OF pay_orders SKIP LOCKED
))
RETURNING pay_order_id;

-- name: find_by_biz_order_nos
SELECT pay_orders.*
FROM unnest($1::bigint[], $2::text[]) AS wanted (biz_order_no, merchant_id)
JOIN pay_orders USING (biz_order_no, merchant_id);

-- name: find_pay_order
SELECT * FROM pay_orders WHERE id = $1;

-- name: lock_pay_orders
-- Those that nobody else holds.
SELECT * FROM pay_orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: find_pay_order_ids
SELECT id FROM pay_orders WHERE id = ANY($1::bigint[]);

-- name: mark_succeeded
-- The optimistic lock of the article is kept as a second net: the rows are locked already.
UPDATE pay_orders
SET status = 3, version = version + 1, succeeded_at = $2
WHERE id = ANY($1::bigint[]) AND status IN (0, 1);

-- name: mark_closed
UPDATE pay_orders
SET status = 2, version = version + 1, closed_at = $2
WHERE id = ANY($1::bigint[]) AND status IN (0, 1);

-- name: mark_refunded
UPDATE pay_orders
SET refunded_amount = $2, version = version + 1
WHERE id = $1 AND status = 3 AND refunded_amount < $2;

-- name: insert_refund
INSERT INTO refunds (id, pay_order_id, number, amount, reason, created_at) VALUES ($1, $2, $3, $4, $5, $6);

-- name: say_settle_time
INSERT INTO settle_times (process, settlements, seconds, seen_at)
VALUES ($1, $2, $3, clock_timestamp())
ON CONFLICT (process) DO UPDATE
SET settlements = excluded.settlements, seconds = excluded.seconds, seen_at = excluded.seen_at;

-- name: forget_settle_times
-- This process's, and what killed ones have left.
DELETE FROM settle_times WHERE process = $1 OR seen_at < clock_timestamp() - interval '1 day';
