-- name: disputed_attempt
SELECT id, pay_order_id FROM attempts WHERE channel = $1 AND transaction_id = $2;

-- name: count_open
SELECT channel, count(*) AS disputes FROM channel_disputes WHERE closed_at IS NULL GROUP BY channel;

-- name: write_dispute
INSERT INTO channel_disputes (channel, dispute_id, attempt_id, amount, currency, reason, status, opened_at, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (channel, dispute_id) DO UPDATE
SET amount = excluded.amount, reason = excluded.reason, status = excluded.status, closed_at = excluded.closed_at
WHERE channel_disputes.closed_at IS NULL;
