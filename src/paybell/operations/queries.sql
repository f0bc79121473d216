-- name: pay_now
-- Payments of a closed piece of the past, so that none that commits late is missed; what waits; since when the
-- oldest deadline has passed. $1: no earlier one has this id or a lower one; negative: counted back from the newest.
SELECT coalesce((SELECT max(id) FROM transfers), 0) AS newest,
       (SELECT count(*) FROM transfers
        WHERE id > CASE WHEN $1 < 0 THEN coalesce((SELECT max(id) FROM transfers), 0) + $1 ELSE $1 END AND kind = 'payment' AND created_at >= $2 AND created_at < $3) AS payments,
       coalesce(extract(epoch FROM clock_timestamp()
                        - (SELECT min(due_at) FROM pay_order_deadlines)), 0)::float8 AS overdue_seconds;

-- name: waits_for_people
SELECT (SELECT count(*) FROM attempts WHERE state = 'MANUAL') AS manual_attempts,
       (SELECT count(*) FROM channel_disputes WHERE closed_at IS NULL) AS open_disputes,
       (SELECT count(*) FROM channel_refunds
        WHERE refund_id IS NULL AND state <> 'SUCCEEDED' AND state = 'FAILED') AS not_given_back,
       (SELECT count(DISTINCT attempts.id) FROM attempt_moves JOIN attempts ON attempts.id = attempt_id
        WHERE attempt_moves.code = 'differs'
          AND (at > $1 OR attempts.state IN ('SENT', 'OPEN', 'UNKNOWN', 'MANUAL'))) AS attempts_differ;

-- name: settle_times
-- What the processes that take payments have settled, of those that said so lately.
SELECT process, settlements, seconds FROM settle_times WHERE seen_at > clock_timestamp() - make_interval(secs => $1);

-- name: heard_lately
-- Some of the payments the order service was notified of in a piece of the past.
SELECT substring(event_id FROM '[0-9]+$')::bigint AS number, received_at
FROM inbox
WHERE listener = $1 AND received_at >= $2 AND received_at < $3 AND event_id LIKE 'pay.success:%'
LIMIT $4;

-- name: succeeded_at
SELECT biz_order_no, succeeded_at FROM pay_orders
WHERE biz_order_no = ANY($1::bigint[]) AND merchant_id = $2 AND succeeded_at IS NOT NULL;

-- name: find_pay_order_ids
-- A pay order by its own id, the order's number, a refund's id, a transfer's or an attempt's; what is found first by
-- this order.
SELECT id FROM (
    SELECT 1 AS rank, id FROM pay_orders WHERE id = $1
    UNION ALL SELECT 2, id FROM (SELECT id FROM pay_orders WHERE biz_order_no = $1 ORDER BY id DESC LIMIT 1) AS newest
    UNION ALL SELECT 3, pay_order_id FROM refunds WHERE id = $1
    UNION ALL SELECT 4, reference::bigint FROM transfers WHERE id = $1 AND kind = 'payment'
    UNION ALL SELECT 5, pay_order_id FROM refunds
              WHERE id = (SELECT reference::bigint FROM transfers WHERE id = $1 AND kind = 'refund')
    UNION ALL SELECT 6, pay_order_id FROM attempts WHERE id = $1
) AS found
ORDER BY rank LIMIT 1;

-- name: pay_side
SELECT pay_orders.*,
       (SELECT coalesce(sum(owed.amount), 0)::bigint FROM attempts
        JOIN channel_refunds AS owed ON owed.attempt_id = attempts.id AND owed.state = 'PENDING'
        WHERE attempts.pay_order_id = pay_orders.id AND attempts.state = 'SUCCEEDED') AS on_its_way_back,
       CASE WHEN current_setting('track_commit_timestamp')::bool
            THEN pg_xact_commit_timestamp(transfers.xmin) END AS committed_at
FROM pay_orders
LEFT JOIN transfers ON transfers.kind = 'payment' AND transfers.reference = pay_orders.id::text
WHERE pay_orders.id = $1;

-- name: transfers_of
SELECT moved.id, moved.kind::text AS kind, moved.amount, debit.currency, debit.owner_id AS debit,
       credit.owner_id AS credit, moved.created_at
FROM (
    SELECT * FROM transfers WHERE kind = 'payment' AND reference = $1::bigint::text
    UNION ALL
    SELECT transfers.* FROM refunds
    JOIN transfers ON transfers.kind IN ('refund', 'refund_failed') AND transfers.reference = refunds.id::text
    WHERE refunds.pay_order_id = $1::bigint
    UNION ALL
    SELECT transfers.* FROM attempts
    JOIN transfers ON transfers.kind IN ('receipt', 'return') AND transfers.reference = attempts.id::text
    WHERE attempts.pay_order_id = $1::bigint
) AS moved
JOIN accounts AS debit ON debit.id = debit_account
JOIN accounts AS credit ON credit.id = credit_account
ORDER BY moved.id
LIMIT 1000;

-- name: attempts_of
SELECT id, channel, state, created_at, changed_at, code, detail FROM attempts WHERE pay_order_id = $1
ORDER BY id LIMIT 1000;

-- name: waiting_events
SELECT event_id, body FROM (
    SELECT id, event_id, body FROM outbox WHERE subject = $1
    UNION ALL SELECT id, event_id, body FROM refused_events WHERE subject = $1
) AS waiting
ORDER BY id;

-- name: refunds_of
SELECT refunds.id, refunds.amount, reason, refunds.created_at, coalesce(channel_refunds.state, 'SUCCEEDED') AS status,
       CASE coalesce(channel_refunds.state, 'SUCCEEDED') WHEN 'PENDING' THEN NULL
            ELSE coalesce(channel_refunds.changed_at, refunds.created_at) END AS decided_at
FROM refunds LEFT JOIN channel_refunds ON channel_refunds.id = refunds.id
WHERE refunds.pay_order_id = $1
ORDER BY refunds.id LIMIT 1000;

-- name: batches
SELECT attempt, published_at, confirmed_at FROM relay_batches WHERE attempt = ANY($1::text[]);

-- name: received
SELECT listener, event_id, received_at, attempt,
       CASE WHEN current_setting('track_commit_timestamp')::bool THEN pg_xact_commit_timestamp(xmin) END AS applied_at
FROM inbox
WHERE (listener, event_id) IN (SELECT listener, event_id FROM unnest($1::text[], $2::text[]) AS wanted (listener, event_id))
   OR (listener = ANY($3::text[]) AND event_id LIKE $4)
ORDER BY received_at;

-- name: failed
SELECT id, listener, event_id, state, reason, attempts, body
FROM failed_deliveries
WHERE (event_id = ANY($1::text[]) OR event_id LIKE $2)
ORDER BY id LIMIT 100;
