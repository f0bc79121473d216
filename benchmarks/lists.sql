-- name: stock_listed_orders
-- $1 pay orders over the 92 days before $2, newest last: one of 500 is closed and the last 100 are open, the others are
-- paid; one of 50 is of one of 100 small merchants, one of 50 of one busy payer, the others of 100,000 payers. Amounts
-- come as they come: each cent up to 10,000.00 about equally often. $3: the id of the first millisecond.
INSERT INTO pay_orders (id, merchant_id, biz_order_no, payer_id, payee_account, amount, currency, subject, status,
                        version, created_at, expires_at, succeeded_at, closed_at)
SELECT $3::bigint + ((n * step)::bigint << 22), CASE WHEN n % 50 = 7 THEN 'small-' || n % 100 ELSE '1' END, n,
       CASE WHEN n % 50 = 3 THEN 'busy' ELSE 'payer-' || (hashint8(n) & 1048575) % 100000 END, 1,
       1 + (hashint8(-n) & 1048575) % 1000000, 'CNY', 'a pair of shoes', status, 2,
       at, at + interval '15 minutes', CASE status WHEN 3 THEN at END, CASE status WHEN 2 THEN at END
FROM (
    SELECT n, step, $2::timestamptz - interval '92 days' + n * step * interval '1 millisecond' AS at,
           CASE WHEN n > $1::bigint - 100 THEN 1 WHEN n % 500 = 0 THEN 2 ELSE 3 END AS status
    FROM generate_series(1, $1::bigint) AS n, (SELECT 92 * 86400000.0 / $1::bigint AS step) AS spread
) AS drawn;

-- name: some_waiting_events
-- So many pay orders' events wait to be published.
INSERT INTO outbox (event_id, type, subject, body, occurred_at, traceparent)
SELECT id || '-2', 'pay.success', biz_order_no::text, '{}', created_at, ''
FROM pay_orders ORDER BY id DESC OFFSET 1000 LIMIT $1;

-- name: index_definitions
SELECT indexname AS name, indexdef AS definition FROM pg_indexes
WHERE schemaname = current_schema() AND indexname = ANY($1::text[]);
