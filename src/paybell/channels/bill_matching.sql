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

-- name: begun_within
SELECT 'payment' AS kind, id, amount, currency, coalesce(transaction_id, '') AS transaction_id
FROM attempts WHERE channel = ANY($1::text[]) AND created_at >= $2 AND created_at < $3
UNION ALL
SELECT 'refund', channel_refunds.id, channel_refunds.amount, currency, ''
FROM channel_refunds JOIN attempts ON attempts.id = attempt_id
WHERE channel = ANY($1::text[]) AND channel_refunds.created_at >= $2 AND channel_refunds.created_at < $3;

-- name: cleared
-- What the channels' clearing accounts moved in a time, currency by currency, towards us positive; and of it what has
-- nothing to do with these payments and refunds, without what they have moved at another time. What no attempt and
-- no refund of ours stands for is never excused.
WITH clearing AS MATERIALIZED (
    SELECT id, currency FROM accounts WHERE kind = 'clearing' AND owner_id = ANY($1::text[])
), named AS MATERIALIZED (
    SELECT CASE state WHEN 'SUCCEEDED' THEN 'payment' ELSE 'receipt' END AS kind,
           CASE state WHEN 'SUCCEEDED' THEN pay_order_id ELSE id END::text AS reference
    FROM attempts WHERE channel = ANY($1::text[]) AND id = ANY($2::bigint[]) AND transaction_id IS NOT NULL
    UNION ALL
    SELECT unnest(ARRAY['refund', 'refund_failed', 'return']), channel_refunds.id::text
    FROM channel_refunds JOIN attempts ON attempts.id = attempt_id
    WHERE channel = ANY($1::text[]) AND channel_refunds.id = ANY($3::bigint[])
), moved AS (
    SELECT transfers.id, transfers.kind, reference, currency, amount, true AS within
    FROM clearing JOIN transfers ON debit_account = clearing.id AND transfers.created_at >= $4 AND transfers.created_at < $5
    UNION ALL
    SELECT transfers.id, transfers.kind, reference, currency, -amount, true
    FROM clearing JOIN transfers ON credit_account = clearing.id AND transfers.created_at >= $4 AND transfers.created_at < $5
    UNION ALL
    SELECT transfers.id, transfers.kind, transfers.reference, currency,
           CASE clearing.id WHEN debit_account THEN amount ELSE -amount END, false
    FROM named JOIN transfers ON transfers.reference = named.reference AND transfers.kind = named.kind::transfer_kind
    JOIN clearing ON clearing.id IN (debit_account, credit_account)
    WHERE transfers.created_at < $4 OR transfers.created_at >= $5
), judged AS (
    SELECT currency, amount, within,
           EXISTS (SELECT FROM named WHERE named.reference = moved.reference AND named.kind = moved.kind::text)
           OR NOT CASE
               WHEN moved.kind = 'payment' THEN EXISTS (
                   SELECT FROM attempts WHERE pay_order_id = moved.reference::bigint AND state = 'SUCCEEDED')
               WHEN moved.kind = 'receipt' THEN EXISTS (
                   SELECT FROM attempts WHERE id = moved.reference::bigint AND state = 'LATE_SUCCESS')
               WHEN moved.kind IN ('refund', 'refund_failed', 'return') THEN EXISTS (
                   SELECT FROM channel_refunds WHERE id = moved.reference::bigint)
               ELSE false END AS counts
    FROM moved
)
SELECT currency,
       coalesce(sum(amount) FILTER (WHERE within), 0)::bigint AS account,
       (coalesce(sum(amount) FILTER (WHERE within), 0) - coalesce(sum(amount) FILTER (WHERE counts), 0))::bigint
           AS of_other_days
FROM judged GROUP BY currency;
