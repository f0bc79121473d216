-- name: insert_attempt
INSERT INTO attempts (id, pay_order_id, channel, kind, state, amount, currency, merchant, created_at, expires_at,
                      changed_at, next_query_at, queries, reference, qr_code, redirect_url, code, detail, traceparent)
VALUES ($1, $2, $3, $4, 'PREPARED', $5, $6, $7, $8, $9, $8, $10, 0, '', '', '', '', '', $11);

-- name: find_attempt
SELECT * FROM attempts WHERE id = $1;

-- name: attempts_of_pay_order
SELECT * FROM attempts WHERE pay_order_id = $1 ORDER BY id;

-- name: lock_attempts_of_pay_order
-- The pay order is locked, so that nobody else changes them; those that come meanwhile wait for it, too.
SELECT * FROM attempts WHERE pay_order_id = $1 ORDER BY id FOR NO KEY UPDATE;

-- name: mark_sent
-- From here on it may have happened. No row: somebody else has decided it.
UPDATE attempts SET state = 'SENT', changed_at = $2, next_query_at = $3 WHERE id = $1 AND state = 'PREPARED'
RETURNING id;

-- name: write_attempt
UPDATE attempts
SET state = $2, changed_at = $3, next_query_at = $4, queries = $5, reference = $6, qr_code = $7, redirect_url = $8,
    transaction_id = $9, code = $10, detail = $11
WHERE id = $1;

-- name: attempts_due
SELECT EXISTS (SELECT FROM attempts WHERE channel = $2 AND next_query_at <= $1);

-- name: take_due_attempts
-- Those of a channel that are due, and nobody else's until their lease is over.
UPDATE attempts
SET next_query_at = $2::timestamptz + make_interval(secs => $3)
WHERE id = ANY(ARRAY(
    SELECT id FROM attempts WHERE channel = $1 AND next_query_at <= $2
    ORDER BY next_query_at LIMIT $4 FOR UPDATE SKIP LOCKED
))
RETURNING *;

-- name: make_windows_due
-- Nothing is left to pay: what is still open elsewhere is closed.
UPDATE attempts SET next_query_at = $2 WHERE pay_order_id = $1 AND kind = 'window' AND state IN ('OPEN', 'UNKNOWN');

-- name: count_live
SELECT channel, state, count(*) AS attempts FROM attempts
WHERE state = 'MANUAL' OR next_query_at IS NOT NULL GROUP BY channel, state
UNION ALL
SELECT attempts.channel, 'NOT_GIVEN_BACK', count(*)
FROM channel_refunds JOIN attempts ON attempts.id = channel_refunds.id
WHERE refund_id IS NULL AND channel_refunds.state <> 'SUCCEEDED' AND channel_refunds.state = 'FAILED' GROUP BY channel
UNION ALL
SELECT attempts.channel, 'DIFFERS', count(DISTINCT attempts.id)
FROM attempt_moves JOIN attempts ON attempts.id = attempt_id
WHERE attempt_moves.code = 'differs'
  AND (at > $1 OR attempts.state IN ('SENT', 'OPEN', 'UNKNOWN', 'MANUAL')) GROUP BY channel;

-- name: note_difference
INSERT INTO attempt_moves (attempt_id, at, state, code, detail) VALUES ($1, $2, $3, 'differs', $4)
ON CONFLICT (attempt_id, detail) WHERE code = 'differs' DO NOTHING;

-- name: insert_refund
INSERT INTO channel_refunds (id, attempt_id, refund_id, amount, state, created_at, changed_at, next_try_at, tries,
                             transaction_id, code, detail, traceparent)
VALUES ($1, $2, $3, $4, 'PENDING', $5, $5, $6, 0, '', '', '', $7);

-- name: find_refund
SELECT * FROM channel_refunds WHERE id = $1;

-- name: lock_refund
SELECT * FROM channel_refunds WHERE id = $1 FOR NO KEY UPDATE;

-- name: returns_due
-- Of any channel: there are few.
SELECT EXISTS (SELECT FROM channel_refunds WHERE next_try_at <= $1);

-- name: take_due_refunds
UPDATE channel_refunds
SET next_try_at = $2::timestamptz + make_interval(secs => $3)
WHERE id = ANY(ARRAY(
    SELECT channel_refunds.id FROM channel_refunds JOIN attempts ON attempts.id = attempt_id
    WHERE attempts.channel = $1 AND next_try_at <= $2
    ORDER BY next_try_at LIMIT $4 FOR UPDATE OF channel_refunds SKIP LOCKED
))
RETURNING *;

-- name: write_refund
UPDATE channel_refunds
SET state = $2, changed_at = $3, next_try_at = $4, tries = $5, transaction_id = $6, code = $7, detail = $8
WHERE id = $1;

-- name: pending_of_pay_order
-- What is on its way back of a payment and not decided, in minor units.
SELECT coalesce(sum(channel_refunds.amount), 0)::bigint AS amount
FROM channel_refunds JOIN refunds ON refunds.id = refund_id
WHERE refunds.pay_order_id = $1 AND channel_refunds.state = 'PENDING';

-- name: find_notice
SELECT 1 AS taken FROM channel_notices WHERE channel = $1 AND notice_id = $2;

-- name: note_notice
INSERT INTO channel_notices (channel, notice_id, attempt_id, received_at) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: hasten_windows
-- Somebody looks: an open window is queried within some seconds, however often they look.
UPDATE attempts SET next_query_at = $2
WHERE pay_order_id = $1 AND kind = 'window' AND state IN ('OPEN', 'UNKNOWN') AND next_query_at > $2;

-- name: ask_settlement
INSERT INTO attempt_settlements (attempt_id, outcome, reference, note, asked_by, asked_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: lock_settlement
SELECT * FROM attempt_settlements
WHERE attempt_id = $1 AND (outcome = 'given_back') = ($2 = 'given_back') AND withdrawn_at IS NULL FOR UPDATE;

-- name: lock_unconfirmed
SELECT * FROM attempt_settlements
WHERE attempt_id = $1 AND withdrawn_at IS NULL AND confirmed_at IS NULL FOR UPDATE;

-- name: confirm_settlement
UPDATE attempt_settlements SET confirmed_by = $2, confirmed_at = $3 WHERE id = $1;

-- name: withdraw_settlement
UPDATE attempt_settlements SET withdrawn_by = $2, withdrawn_at = $3 WHERE id = $1;

-- name: hasten_refund
UPDATE channel_refunds SET next_try_at = $2 WHERE id = $1 AND state = 'PENDING';
