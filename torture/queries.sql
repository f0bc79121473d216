-- name: pay_orders
-- Every pay order with what payment transfers moved for it.
SELECT pay_orders.id, biz_order_no, payer_id, pay_orders.amount, status,
       count(transfers.id) AS transfers,
       coalesce(sum(transfers.amount), 0)::bigint AS moved,
       coalesce(bool_and(CASE WHEN elsewhere.channel IS NULL
                              THEN payer.kind = 'wallet' AND payer.owner_id = pay_orders.payer_id
                              ELSE payer.kind::text = 'clearing' AND payer.owner_id = elsewhere.channel END
                         AND transfers.credit_account = pay_orders.payee_account), true) AS rightly
FROM pay_orders
LEFT JOIN transfers ON transfers.kind = 'payment' AND transfers.reference = pay_orders.id::text
LEFT JOIN accounts AS payer ON payer.id = transfers.debit_account
LEFT JOIN pay_order_channels AS elsewhere ON elsewhere.pay_order_id = pay_orders.id
GROUP BY pay_orders.id;

-- name: foundlings
-- Payments for pay orders that do not exist.
SELECT reference FROM transfers
WHERE kind = 'payment' AND NOT EXISTS (SELECT FROM pay_orders WHERE pay_orders.id::text = transfers.reference);

-- name: top_ups
SELECT substring(reference FROM '(?:key|funds)-[a-z0-9-]+') AS key, owner_id, count(*) AS times, sum(amount)::bigint AS amount
FROM transfers JOIN accounts ON accounts.id = transfers.credit_account
WHERE transfers.kind = 'top_up'
GROUP BY reference, owner_id;

-- name: wallets
-- Each wallet beside what its paid orders and its top-ups come to.
SELECT owner_id, debits, credits,
       coalesce(orders.amount, 0)::bigint AS owed, coalesce(top_ups.amount, 0)::bigint AS paid_in
FROM accounts
LEFT JOIN (
    SELECT payer_id, currency, sum(amount) AS amount FROM pay_orders
    WHERE status = 3 AND NOT EXISTS (SELECT FROM pay_order_channels WHERE pay_order_id = pay_orders.id)
    GROUP BY payer_id, currency
) AS orders ON orders.payer_id = accounts.owner_id AND orders.currency = accounts.currency
LEFT JOIN (
    SELECT credit_account, sum(amount) AS amount FROM transfers WHERE kind = 'top_up' GROUP BY credit_account
) AS top_ups ON top_ups.credit_account = accounts.id
WHERE kind = 'wallet';

-- name: unfinished_at_pay
-- Deadlines that were due at a moment; others fall due while somebody looks.
SELECT (SELECT count(*) FROM unpublished_events) AS events,
       (SELECT count(*) FROM outbox WHERE lease_token IS NOT NULL) AS leased,
       (SELECT count(*) FROM pending_postings) AS postings,
       (SELECT count(*) FROM channel_refunds WHERE state = 'PENDING') AS returns,
       (SELECT count(*) FROM pay_order_deadlines WHERE due_at < $1) AS deadlines,
       (SELECT count(*) FROM pay_orders WHERE status = 3) AS paid;

-- name: unfinished_at_trade
SELECT (SELECT count(*) FROM failed_deliveries WHERE state = 'retry') AS retries,
       (SELECT count(*) FROM orders WHERE paid_at IS NOT NULL) AS known;

-- name: orders
SELECT id, total_fee, status FROM orders;

-- name: inbox
-- What was heard of payments; typed events beside them are known by other ids.
SELECT event_id, count(*) AS times FROM inbox WHERE event_id LIKE 'pay.success:%' GROUP BY event_id;

-- name: failures
SELECT event_id, state, reason, error FROM failed_deliveries ORDER BY id;
