-- name: try_lock_idempotency_keys
-- Held until the transaction ends; false while another one works under the same key.
SELECT pg_try_advisory_xact_lock(hashtextextended(caller || chr(31) || route || chr(31) || key, 0)) AS locked
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (caller, route, key, place)
ORDER BY place;

-- name: find_idempotent_answers
SELECT wanted.place, kept.request_hash, kept.status, kept.body
FROM unnest($1::text[], $2::text[], $3::text[], $4::int[]) AS wanted (caller, route, key, place)
JOIN idempotency_keys AS kept ON kept.caller = wanted.caller AND kept.route = wanted.route AND kept.key = wanted.key
ORDER BY kept.created_at;

-- name: keep_idempotent_answers
INSERT INTO idempotency_keys (caller, route, key, request_hash, status, body, created_at)
SELECT kept.*, $7::timestamptz
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::smallint[], $6::bytea[]) AS kept;

-- name: remove_idempotency_keys
-- Answers kept for keys; what was done stays done, and the numbers of top-ups and refunds stay taken.
DELETE FROM idempotency_keys
WHERE ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys WHERE created_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));
