-- name: remove_idempotency_keys
-- Answers kept for keys; what was done stays done, and the numbers of top-ups and refunds stay taken.
DELETE FROM idempotency_keys
WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys WHERE created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: remove_relay_batches
DELETE FROM relay_batches
WHERE ctid = ANY(ARRAY(SELECT ctid FROM relay_batches WHERE confirmed_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: remove_inbox
DELETE FROM inbox
WHERE ctid = ANY(ARRAY(SELECT ctid FROM inbox WHERE received_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: remove_dead_letters
DELETE FROM failed_deliveries
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM failed_deliveries WHERE state = 'dead' AND last_failed_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED
));
