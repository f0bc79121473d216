-- name: outcomes
SELECT attempts.id, attempts.channel, attempts.state, pay_order_id, pay_orders.amount, refunded_amount,
       pay_orders.status
FROM attempts JOIN pay_orders ON pay_orders.id = pay_order_id;

-- name: kept
-- What came from each channel less what goes back to it, by our ledger, in minor units.
SELECT accounts.owner_id AS channel,
       sum(CASE WHEN debit_account = accounts.id THEN transfers.amount ELSE -transfers.amount END)::bigint AS amount
FROM accounts JOIN transfers ON accounts.id IN (debit_account, credit_account)
WHERE accounts.kind = 'clearing' AND position(':' IN accounts.owner_id) = 0
GROUP BY accounts.owner_id;

-- name: unfinished
SELECT (SELECT count(*) FROM attempts WHERE state IN ('PREPARED', 'SENT', 'OPEN', 'UNKNOWN'))
       + (SELECT count(*) FROM channel_refunds WHERE state = 'PENDING') AS things;
