-- name: pay_books
-- What the pay database says of its payments; transfers are the truth, all others must agree with them.
SELECT (SELECT count(*) FROM pay_orders WHERE status = 3) AS paid,
       (SELECT count(*) FROM transfers WHERE kind = 'payment') AS transfers,
       (SELECT count(*) FROM pay_orders JOIN transfers ON transfers.reference = pay_orders.id::text
        WHERE pay_orders.status = 3 AND transfers.kind = 'payment'
          AND transfers.amount = pay_orders.amount
          AND transfers.credit_account = pay_orders.payee_account) AS matching,
       (SELECT coalesce(sum(amount), 0)::bigint FROM transfers WHERE kind = 'payment') AS moved,
       (SELECT coalesce(sum(debits), 0)::bigint FROM accounts WHERE kind = 'wallet') AS debited,
       (SELECT count(*) FROM outbox) AS untold,
       (SELECT count(DISTINCT event_id) FROM outbox) AS untold_events;

-- name: trade_books
-- What the order service knows.
SELECT (SELECT count(*) FROM orders WHERE status = 'PAID') AS paid,
       (SELECT count(*) FROM inbox) AS applied,
       (SELECT count(*) FROM failed_deliveries) AS failed,
       (SELECT count(*) FROM orders WHERE status = 'PAID'
        AND NOT EXISTS (SELECT 1 FROM inbox WHERE event_id = 'pay.success:' || orders.id)) AS unheard;
