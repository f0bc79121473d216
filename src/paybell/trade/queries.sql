-- name: insert_orders
INSERT INTO orders (id, buyer_id, total_fee, currency, subject, status, created_at)
SELECT wanted.id, wanted.buyer_id, wanted.total_fee, wanted.currency, wanted.subject, 'UNPAID', $6
FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::text[])
    AS wanted (id, buyer_id, total_fee, currency, subject)
ORDER BY wanted.id
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: find_orders
SELECT * FROM orders WHERE id = ANY($1::bigint[]) ORDER BY id;

-- name: link_pay_orders
UPDATE orders
SET pay_order_id = linked.pay_order_id
FROM unnest($1::bigint[], $2::bigint[]) AS linked (id, pay_order_id)
WHERE orders.id = linked.id AND orders.pay_order_id IS NULL;

-- name: mark_paid
-- Guarded by status: a message that comes again, or late, revives nothing.
UPDATE orders SET status = 'PAID', paid_at = $2
WHERE id = ANY($1::bigint[]) AND status = 'UNPAID'
RETURNING id;

-- name: mark_cancelled
UPDATE orders SET status = 'CANCELLED', cancelled_at = $2
WHERE id = $1 AND status = 'UNPAID'
RETURNING *;

-- name: next_node_number
SELECT nextval('node_numbers') AS node;
