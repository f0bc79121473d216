-- name: entered_under
-- What we entered under these numbers, whenever it was.
SELECT 'payment' AS kind, id, amount, currency, transaction_id
FROM attempts WHERE channel = ANY($1::text[]) AND id = ANY($2::bigint[]) AND transaction_id IS NOT NULL
UNION ALL
SELECT 'refund', channel_refunds.id, channel_refunds.amount, currency, attempts.transaction_id
FROM channel_refunds JOIN attempts ON attempts.id = attempt_id
WHERE channel = ANY($1::text[]) AND channel_refunds.id = ANY($3::bigint[]) AND channel_refunds.state = 'SUCCEEDED';

-- name: entered_within
-- What began and ended within a time: the channel's own time of it is certainly between them.
SELECT 'payment' AS kind, id, amount, currency, transaction_id
FROM attempts WHERE channel = ANY($1::text[]) AND transaction_id IS NOT NULL AND created_at >= $2 AND changed_at < $3
UNION ALL
SELECT 'refund', channel_refunds.id, channel_refunds.amount, currency, attempts.transaction_id
FROM channel_refunds JOIN attempts ON attempts.id = attempt_id
WHERE channel = ANY($1::text[]) AND channel_refunds.state = 'SUCCEEDED'
  AND channel_refunds.created_at >= $2 AND channel_refunds.changed_at < $3;
