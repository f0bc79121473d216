-- name: find_idempotent_answer
SELECT request_hash, status, body FROM idempotency_keys WHERE caller = ANY($1::text[]) AND route = $2 AND key = $3
ORDER BY created_at LIMIT 1;

-- name: try_lock_idempotency_key
-- Held until the transaction ends; false while another one works under the same key.
SELECT pg_try_advisory_xact_lock(hashtextextended($1 || chr(31) || $2 || chr(31) || $3, 0)) AS locked;

-- name: keep_idempotent_answer
INSERT INTO idempotency_keys (caller, route, key, request_hash, status, body, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: remove_idempotency_keys
-- Answers kept for keys; what was done stays done, and the numbers of top-ups and refunds stay taken.
DELETE FROM idempotency_keys
WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys WHERE created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));
