-- name: stock_wallets
-- Wallets $1 with pay passwords $2 and $3 of money each, opened the way top-ups would have.
WITH opened AS (
    INSERT INTO accounts (kind, owner_id, currency, credits, created_at)
    SELECT 'wallet', owner_id, 'CNY', $3::bigint, now() FROM unnest($1::text[]) AS wanted (owner_id)
    RETURNING id, owner_id
), secured AS (
    INSERT INTO wallets (account_id, pay_password)
    SELECT opened.id, wanted.pay_password
    FROM opened JOIN unnest($1::text[], $2::text[]) AS wanted (owner_id, pay_password) USING (owner_id)
), funding AS (
    INSERT INTO accounts (kind, owner_id, currency, debits, created_at)
    VALUES ('funding', 'paybell', 'CNY', $3::bigint * cardinality($1::text[]), now())
    RETURNING id
)
INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
SELECT 'top_up', 'bench:' || opened.owner_id, funding.id, opened.id, $3::bigint, now() FROM opened, funding;

-- name: stock_merchants
INSERT INTO accounts (kind, owner_id, currency, created_at)
SELECT 'merchant', n::text, 'CNY', now() FROM generate_series(1, $1::int) AS n;

-- name: stock_pay_orders
-- Unpaid pay orders $1 to $2 of $4 buyers and $5 merchants.
INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency, subject,
                        status, version, created_at, expires_at)
SELECT 700000000000000000 + n, merchants.owner_id, 600000000000000000 + n, 'buyer-' || n % $4::int, merchants.id,
       $3::bigint, 'CNY', 'a pair of shoes', 1, 1, now(), now() + interval '1 day'
FROM generate_series($1::bigint, $2::bigint) AS n
JOIN accounts AS merchants ON merchants.owner_id = (1 + n % $5::int)::text AND merchants.kind = 'merchant';

-- name: stock_deadlines
INSERT INTO pay_order_deadlines (due_at, pay_order_id) SELECT expires_at, id FROM pay_orders WHERE status = 1;

-- name: stock_trade_orders
-- Orders $1 to $2 of trade that wait to be paid.
INSERT INTO orders (id, buyer_id, total_fee, currency, subject, status, pay_order_id, created_at)
SELECT 600000000000000000 + n, 'buyer-' || n % $4::int, $3::bigint, 'CNY', 'a pair of shoes', 'UNPAID',
       700000000000000000 + n, now()
FROM generate_series($1::bigint, $2::bigint) AS n;

-- name: grow_paid_orders
-- Pay orders $1 to $2 that were paid long ago by $4 buyers, who had topped up for them.
INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency, subject,
                        status, version, created_at, expires_at, succeeded_at)
SELECT 700000000000000000 + n, '1', 600000000000000000 + n, 'buyer-' || n % $4::int,
       (SELECT id FROM accounts WHERE kind = 'merchant' AND owner_id = '1'),
       $3::bigint, 'CNY', 'a pair of shoes', 3, 2, now() - interval '2 days', now() - interval '1 day',
       now() - interval '2 days'
FROM generate_series($1::bigint, $2::bigint) AS n;

-- name: grow_transfers
INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
SELECT 'payment', pay_orders.id::text, wallets.id, pay_orders.payee_account, pay_orders.amount, now()
FROM pay_orders
JOIN accounts AS wallets ON wallets.owner_id = pay_orders.payer_id AND wallets.kind = 'wallet'
WHERE pay_orders.status = 3;

-- name: grow_balances
UPDATE accounts
SET debits = accounts.debits + sums.debits, credits = accounts.credits + sums.credits
FROM (
    SELECT account_id, sum(debits) AS debits, sum(credits) AS credits
    FROM (
        SELECT debit_account AS account_id, amount AS debits, 0 AS credits FROM transfers WHERE kind = 'payment'
        UNION ALL
        SELECT credit_account, 0, amount FROM transfers WHERE kind = 'payment'
    ) AS sides
    GROUP BY account_id
) AS sums
WHERE accounts.id = sums.account_id;

-- name: grow_outbox
-- The events of paid orders from number $1 on, still to be told: as long as Paybell writes them.
INSERT INTO outbox (event_id, type, subject, body, occurred_at, traceparent)
SELECT id || '-2', 'pay.success', biz_order_no::text,
       convert_to(format(
           '{"id":"%1$s-2","type":"pay.success","time":"2026-01-31T12:00:00.000000Z","subject":"%2$s",'
           '"data":{"payOrderId":"%1$s","bizOrderNo":"%2$s","merchantId":"1","payerId":"%3$s","amount":%4$s,'
           '"currency":"CNY","subject":"a pair of shoes","status":"TRADE_SUCCESS","version":2,'
           '"createdAt":"2026-01-31T12:00:00.000000Z","expiresAt":"2026-01-31T14:00:00.000000Z",'
           '"succeededAt":"2026-01-31T12:00:00.000000Z","closedAt":null},'
           '"traceparent":"00-0123456789abcdef0123456789abcdef-0123456789abcdef-00",'
           '"source":"/paybell/pay","specversion":"1.0","datacontenttype":"application/json"}',
           id, biz_order_no, payer_id, amount), 'UTF8'),
       now(), '00-0123456789abcdef0123456789abcdef-0123456789abcdef-00'
FROM pay_orders
WHERE status = 3 AND id >= 700000000000000000 + $1::bigint
ORDER BY id;

-- name: grow_trade_orders
-- Orders $1 to $2 that trade has long since marked paid.
INSERT INTO orders (id, buyer_id, total_fee, currency, subject, status, pay_order_id, created_at, paid_at)
SELECT 600000000000000000 + n, 'buyer-' || n % $4::int, $3::bigint, 'CNY', 'a pair of shoes', 'PAID',
       700000000000000000 + n, now(), now()
FROM generate_series($1::bigint, $2::bigint) AS n;

-- name: grow_inbox
INSERT INTO inbox (listener, event_id, received_at)
SELECT 'trade.pay.success.queue', 'pay.success:' || id, now() FROM orders WHERE status = 'PAID' ORDER BY id;
