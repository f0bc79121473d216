-- name: count_outbox
-- Events that nobody has been told of yet.
SELECT count(*) AS pending FROM unpublished_events;

-- name: audit_pay
-- What became of one merchant's pay orders, all of them or those of these business order numbers.
-- Money is counted by transfers, never by what the pay orders say of themselves.
WITH concerned AS (
    SELECT id, biz_order_no, payer_id, currency, status
    FROM pay_orders
    WHERE merchant_id = $1 AND ($2::bigint[] IS NULL OR biz_order_no IN (SELECT unnest($2::bigint[])))
), moved AS (
    SELECT transfers.reference, count(*) AS times, sum(transfers.amount) AS amount
    FROM transfers
    JOIN concerned ON transfers.reference = concerned.id::text
    WHERE transfers.kind = 'payment'
    GROUP BY transfers.reference
), payers AS (
    SELECT DISTINCT payer_id, currency FROM concerned
), owed AS (
    SELECT payers.payer_id, payers.currency,
           coalesce(sum(pay_orders.amount) FILTER (WHERE pay_orders.status = 3), 0) AS amount
    FROM payers JOIN pay_orders USING (payer_id, currency)
    GROUP BY payers.payer_id, payers.currency
)
SELECT (SELECT coalesce(array_agg(biz_order_no), '{}') FROM concerned WHERE status = 3) AS paid,
       (SELECT coalesce(sum(amount), 0)::bigint FROM moved) AS debited,
       (SELECT count(*) FROM moved WHERE times > 1) AS moved_again,
       (SELECT count(*) FROM owed
        JOIN accounts ON accounts.owner_id = owed.payer_id AND accounts.currency = owed.currency
        WHERE accounts.kind = 'wallet' AND accounts.debits > owed.amount) AS debited_too_much;

-- name: audit_trade
-- What the order service made of it: of the orders $1 (null: all) and of those that pay calls paid, $2.
-- What was paid and refunded was paid.
SELECT count(*) FILTER (WHERE marked) AS marked_paid,
       count(*) FILTER (WHERE marked AND paid.id IS NULL) AS unfounded,
       cardinality($2::bigint[]) - count(*) FILTER (WHERE marked AND paid.id IS NOT NULL) AS lost
FROM orders
CROSS JOIN LATERAL (SELECT orders.status IN ('PAID', 'PARTIALLY_REFUNDED', 'REFUNDED') AS marked) AS state
LEFT JOIN unnest($2::bigint[]) AS paid (id) ON paid.id = orders.id
WHERE $1::bigint[] IS NULL OR orders.id IN (SELECT unnest($1::bigint[]));

-- name: audit_inbox
-- Payments of these orders that one listener has applied under more than one event id.
SELECT count(*) AS applied_again
FROM (
    SELECT inbox.listener, paid.id
    FROM inbox
    JOIN unnest($1::bigint[]) AS paid (id) ON paid.id::text = substring(inbox.event_id FROM '[0-9]+$')
    WHERE inbox.event_id LIKE 'pay.success:%'
    GROUP BY inbox.listener, paid.id
    HAVING count(*) > 1
) AS again;
