-- name: insert_pay_orders
-- plan once
-- New pay orders with their deadlines, in an order that cannot deadlock, and those there are already. Neither: one
-- that somebody else inserts meanwhile, and those of a merchant without an account in the currency.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[],
                         $8::int[])
        AS wanted (id, merchant_id, biz_order_no, payer_id, amount, currency, subject, ttl_seconds)
), inserted AS (
    INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency,
                            subject, status, version, created_at, expires_at)
    SELECT wanted.id, wanted.merchant_id, wanted.biz_order_no, wanted.payer_id, accounts.id,
           wanted.amount, wanted.currency, wanted.subject, 1, 1, $9::timestamptz,
           $9::timestamptz + make_interval(secs => wanted.ttl_seconds)
    FROM wanted
    JOIN accounts ON accounts.kind = 'merchant' AND accounts.owner_id = wanted.merchant_id
                 AND accounts.currency = wanted.currency
    ORDER BY wanted.biz_order_no, wanted.merchant_id
    ON CONFLICT ON CONSTRAINT one_pay_order_per_biz_order DO NOTHING
    RETURNING *
), planned AS (
    INSERT INTO pay_order_deadlines (due_at, pay_order_id) SELECT expires_at, id FROM inserted
)
SELECT *, NULL AS channel, true AS fresh FROM inserted
UNION ALL
SELECT pay_orders.*, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel,
       false AS fresh
FROM (SELECT DISTINCT biz_order_no, merchant_id FROM wanted) AS wanted
JOIN pay_orders USING (biz_order_no, merchant_id);

-- name: deadlines_due
SELECT EXISTS (SELECT FROM pay_order_deadlines WHERE due_at <= $1);

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
-- plan once
SELECT pay_orders.*, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel
FROM unnest($1::bigint[], $2::text[]) AS wanted (biz_order_no, merchant_id)
JOIN pay_orders USING (biz_order_no, merchant_id);

-- name: find_pay_order
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel
FROM pay_orders WHERE id = $1;

-- name: lock_pay_orders
-- plan once
-- Those that nobody else has locked.
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END AS channel
FROM pay_orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED;

-- name: lock_payments
-- plan once
-- The same pay orders, and the wallets of those who ask to pay theirs. Nothing here waits for a lock, so no two can wait
-- for each other. Both tables of a wallet are locked, so that the pay password's tries are read as the last holder
-- left them. moves_money: of what is under way at channels for an order; null where nothing is.
WITH held AS MATERIALIZED (
    SELECT * FROM pay_orders WHERE id = ANY($1::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
), wallet AS MATERIALIZED (
    SELECT accounts.id AS account_id, accounts.owner_id, accounts.currency, accounts.debits, accounts.credits,
           wallets.pay_password, wallets.failed_tries, wallets.locked_until
    FROM accounts JOIN wallets ON wallets.account_id = accounts.id
    WHERE accounts.id = ANY(ARRAY(
        SELECT wanted.id
        FROM unnest($1::bigint[], $2::text[]) AS asked (id, payer_id)
        JOIN held USING (id, payer_id)
        JOIN accounts AS wanted ON wanted.owner_id = held.payer_id AND wanted.currency = held.currency
                               AND wanted.kind = 'wallet'
        WHERE held.status IN (0, 1)
    ))
    ORDER BY accounts.id
    FOR NO KEY UPDATE SKIP LOCKED
)
SELECT held.*, CASE WHEN held.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = held.id), 'balance') END AS channel,
       (SELECT moves_money FROM pay_order_holds WHERE pay_order_id = held.id) AS moves_money,
       wallet.account_id, wallet.debits, wallet.credits, wallet.pay_password, wallet.failed_tries, wallet.locked_until
FROM held LEFT JOIN wallet ON wallet.owner_id = held.payer_id AND wallet.currency = held.currency;

-- name: find_pay_order_ids
SELECT id FROM pay_orders WHERE id = ANY($1::bigint[]);

-- name: write_payments
-- plan once
-- All of a batch's payments: status, transfer, both sides, event. The transfer is of what the row says that was marked.
-- The optimistic lock of the article is kept as a second net: the rows are locked already, by a statement before this
-- one, so that holds are seen. $11: those whose open windows do not matter.
WITH paid AS (
    UPDATE pay_orders
    SET status = 3, version = version + 1, succeeded_at = $6
    FROM unnest($9::bigint[], $10::bigint[]) AS decided (id, account_id)
    WHERE pay_orders.id = ANY($9::bigint[]) AND pay_orders.id = decided.id AND status IN (0, 1)
      AND NOT EXISTS (SELECT FROM pay_order_holds
                      WHERE pay_order_id = pay_orders.id AND (moves_money OR pay_order_id <> ALL($11::bigint[])))
    RETURNING pay_orders.id, decided.account_id, payee_account, amount
), posted AS (
    INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
    SELECT 'payment', id::text, account_id, payee_account, amount, $6 FROM paid
    RETURNING debit_account, credit_account, amount
),
-- include: paybell.wallet both_sides
, told AS (
-- include: paybell.messaging append_events
)
SELECT id, event_id, (SELECT count(*) FROM paid) AS paid FROM told;

-- name: mark_received
-- Paid with money that has come from elsewhere, whatever else is on its way.
WITH named AS (
    INSERT INTO pay_order_channels (pay_order_id, channel) VALUES ($1, $3)
)
UPDATE pay_orders
SET status = 3, version = version + 1, succeeded_at = $2
WHERE id = $1 AND status IN (0, 1);

-- name: mark_closed
UPDATE pay_orders
SET status = 2, version = version + 1, closed_at = $2
WHERE id = ANY($1::bigint[]) AND status IN (0, 1)
  AND NOT EXISTS (SELECT FROM pay_order_holds WHERE pay_order_id = pay_orders.id);

-- name: hold_pay_order
-- It keeps its deadline in mind, and nobody closes it when that passes.
WITH held AS (
    INSERT INTO pay_order_holds (pay_order_id, moves_money) VALUES ($1, $2)
    ON CONFLICT (pay_order_id) DO UPDATE SET moves_money = EXCLUDED.moves_money
)
DELETE FROM pay_order_deadlines USING pay_orders
WHERE pay_orders.id = $1 AND due_at = expires_at AND pay_order_id = $1;

-- name: release_pay_order
WITH released AS (
    DELETE FROM pay_order_holds WHERE pay_order_id = $1
)
INSERT INTO pay_order_deadlines (due_at, pay_order_id)
SELECT expires_at, id FROM pay_orders WHERE id = $1 AND status IN (0, 1)
ON CONFLICT DO NOTHING;

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

-- name: find_way_back
-- How the money of an order that is locked came, if from elsewhere, and how much of it is on its way back.
SELECT attempts.id AS attempt_id, attempts.channel,
       coalesce((SELECT sum(owed.amount) FROM channel_refunds AS owed
                 WHERE owed.attempt_id = attempts.id AND owed.state = 'PENDING'), 0)::bigint AS pending
FROM attempts WHERE pay_order_id = $1 AND state = 'SUCCEEDED';

-- name: owe_refund
INSERT INTO channel_refunds (id, attempt_id, refund_id, amount, state, created_at, changed_at, next_try_at, tries,
                             transaction_id, code, detail, traceparent)
VALUES ($1, $2, $1, $3, 'PENDING', $4, $4, $4, 0, '', '', '', $5);

-- name: find_refunds
SELECT refunds.id, refunds.pay_order_id, refunds.number, refunds.amount, refunds.reason,
       coalesce(channel_refunds.state, 'SUCCEEDED') AS status
FROM refunds LEFT JOIN channel_refunds ON channel_refunds.refund_id = refunds.id
WHERE refunds.pay_order_id = $1 ORDER BY refunds.id LIMIT $2;

-- name: find_decided_refund
SELECT refunds.id, refunds.pay_order_id, refunds.number, refunds.amount, refunds.reason,
       channel_refunds.state AS status
FROM refunds JOIN channel_refunds ON channel_refunds.refund_id = refunds.id
WHERE refunds.pay_order_id = $1 AND refunds.number = $2 AND channel_refunds.state <> 'PENDING';

-- name: remove_channel_notices
-- What they said is written elsewhere; one that is sent again after so long changes nothing either.
DELETE FROM channel_notices
WHERE ctid = ANY(ARRAY(SELECT ctid FROM channel_notices WHERE received_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));
