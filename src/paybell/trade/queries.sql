-- name: insert_orders
-- plan once
-- New orders with their first checks, and those there are already; one that somebody else inserts meanwhile is neither.
WITH inserted AS (
    INSERT INTO orders (id, buyer_id, total_fee, currency, subject, status, created_at)
    SELECT wanted.id, wanted.buyer_id, wanted.total_fee, wanted.currency, wanted.subject, 'UNPAID', $6
    FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[])
        AS wanted (id, buyer_id, total_fee, currency, subject)
    ORDER BY wanted.id
    ON CONFLICT (id) DO NOTHING
    RETURNING *
), planned AS (
    INSERT INTO order_checks (order_id, due_at) SELECT id, $7 FROM inserted
)
SELECT *, true AS fresh FROM inserted
UNION ALL
SELECT *, false AS fresh FROM orders WHERE id = ANY($1::bigint[]);

-- name: find_orders
-- plan once
SELECT * FROM orders WHERE id = ANY($1::bigint[]) ORDER BY id;

-- name: lock_orders
-- plan once
-- Locked in id order, so that batches cannot deadlock.
SELECT * FROM orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: write_changed
-- What was decided of orders that are locked.
UPDATE orders
SET status = changed.status, paid_at = changed.paid_at, cancelled_at = changed.cancelled_at,
    version = changed.version, refunded_amount = changed.refunded_amount
FROM unnest($1::bigint[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::bigint[])
    AS changed (id, status, paid_at, cancelled_at, version, refunded_amount)
WHERE orders.id = changed.id;

-- name: owe_refunds
-- Cancelled, and paid all the same: what has come goes back.
INSERT INTO owed_refunds (order_id, due_at)
SELECT id, $2 FROM orders
WHERE id = ANY($1::bigint[]) AND status = 'CANCELLED' AND paid_at IS NOT NULL AND refunded_amount < total_fee
ORDER BY id
ON CONFLICT DO NOTHING;

-- name: refunds_due
SELECT EXISTS (SELECT FROM owed_refunds WHERE due_at <= $1);

-- name: take_owed_refunds
-- Those that are due, each with a longer wait until it is due again.
UPDATE owed_refunds
SET asked = asked + 1,
    due_at = $1::timestamptz + make_interval(secs => least($3::float8, $2::float8 * 2 ^ least(asked, 30)))
WHERE order_id = ANY(ARRAY(
    SELECT order_id FROM owed_refunds WHERE due_at <= $1 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED
))
RETURNING order_id;

-- name: drop_owed_refunds
DELETE FROM owed_refunds WHERE order_id = ANY($1::bigint[]);

-- name: checks_due
SELECT EXISTS (SELECT FROM order_checks WHERE due_at <= $1);

-- name: take_due_checks
-- Those that are due, and nobody else's until their lease is over.
UPDATE order_checks
SET due_at = $1::timestamptz + make_interval(secs => $2)
WHERE order_id = ANY(ARRAY(
    SELECT order_id FROM order_checks WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING order_id, asked;

-- name: plan_checks
UPDATE order_checks
SET asked = planned.asked, due_at = planned.due_at
FROM unnest($1::bigint[], $2::int[], $3::timestamptz[]) AS planned (order_id, asked, due_at)
WHERE order_checks.order_id = planned.order_id;

-- name: drop_checks
DELETE FROM order_checks WHERE order_id = ANY($1::bigint[]);

-- name: note_paid_though_cancelled
-- Of orders that `mark_paid` has locked.
UPDATE orders SET paid_at = $2 WHERE id = ANY($1::bigint[]) AND status = 'CANCELLED' AND paid_at IS NULL;

-- name: link_pay_orders
-- plan once
-- Locked in id order first, as everywhere: whatever order the rows are changed in, nobody waits for us in another.
WITH locked AS MATERIALIZED (
    SELECT id FROM orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE orders
SET pay_order_id = linked.pay_order_id
FROM unnest($1::bigint[], $2::bigint[]) AS linked (id, pay_order_id) JOIN locked USING (id)
WHERE orders.id = linked.id AND orders.pay_order_id IS NULL
RETURNING orders.*;

-- name: mark_paid
-- plan once
-- Guarded by status: a message that comes again, or late, revives nothing. Locked in id order.
WITH locked AS MATERIALIZED (
    SELECT id FROM orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE
)
UPDATE orders SET status = 'PAID', paid_at = $2
FROM locked
WHERE orders.id = locked.id AND status = 'UNPAID'
RETURNING orders.id;

-- name: mark_all_paid
-- plan once
-- What remembering events and `mark_paid` do, where every event is new and about an order that is unpaid; else nothing:
-- fewer rows than orders, or the inbox's key is violated. Locked in id order.
WITH unpaid AS MATERIALIZED (
    SELECT id FROM orders WHERE id = ANY($2::bigint[]) AND status = 'UNPAID' ORDER BY id FOR NO KEY UPDATE
), paying AS MATERIALIZED (
    SELECT id FROM unpaid WHERE (SELECT count(*) FROM unpaid) = cardinality($2::bigint[])
), marked AS (
    UPDATE orders SET status = 'PAID', paid_at = $5
    FROM paying
    WHERE orders.id = ANY($2::bigint[]) AND orders.id = paying.id AND status = 'UNPAID'
    RETURNING orders.id
), remembered AS (
    INSERT INTO inbox (listener, event_id, received_at, attempt)
    SELECT $1, arrived.event_id, $5, arrived.attempt
    FROM unnest($2::bigint[], $3::text[], $4::text[]) AS arrived (id, event_id, attempt) JOIN marked USING (id)
    ORDER BY arrived.event_id
)
SELECT id FROM marked;

-- name: find_fees
-- plan once
SELECT id, total_fee, currency FROM orders WHERE id = ANY($1::bigint[]);

-- name: mark_cancelled
UPDATE orders SET status = 'CANCELLED', cancelled_at = $2
WHERE id = $1 AND status = 'UNPAID'
RETURNING *;

-- name: beat
INSERT INTO listening_processes (process, queue, seen_at)
SELECT $1, unnest($2::text[]), clock_timestamp()
ON CONFLICT (process, queue) DO UPDATE SET seen_at = excluded.seen_at;

-- name: forget_process
DELETE FROM listening_processes WHERE process = $1 OR seen_at < clock_timestamp() - interval '1 day';

-- name: count_processes
SELECT queue, count(*) AS processes FROM listening_processes
WHERE seen_at > clock_timestamp() - make_interval(secs => $1)
GROUP BY queue;
