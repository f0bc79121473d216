-- Each query reads one piece of a list: some thousand rows along an index, newest first, and of those the first that
-- are wanted; fewer of one person, whose rows are far from each other. Where the piece had too few, its last row
-- follows, so that reading goes on. Ids are in the order of time.
-- $1, $2: ids from and to; $3, $4: times; $5, $6: amounts; $7: status; $8: merchant; $9: payer; $10: rows.

-- name: newest_of_merchant
WITH page AS MATERIALIZED (
    SELECT * FROM (
        SELECT * FROM pay_orders WHERE merchant_id = $8 AND id >= $1 AND id < $2 ORDER BY id DESC LIMIT 5000
    ) AS piece
    WHERE created_at >= $3 AND created_at < $4 AND amount >= $5 AND amount <= $6
      AND ($7::smallint IS NULL OR status = $7) AND ($9::text IS NULL OR payer_id = $9)
    ORDER BY id DESC LIMIT $10
)
SELECT *, CASE WHEN page.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = page.id), 'balance') END AS channel, false AS edge FROM page
UNION ALL
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END, true FROM pay_orders
WHERE (SELECT count(*) FROM page) < $10 AND id = (
    SELECT id FROM pay_orders WHERE merchant_id = $8 AND id >= $1 AND id < $2 ORDER BY id DESC OFFSET 4999 LIMIT 1
)
ORDER BY edge, id DESC;

-- name: newest_of_payer
WITH page AS MATERIALIZED (
    SELECT * FROM (
        SELECT * FROM pay_orders WHERE payer_id = $9 AND id >= $1 AND id < $2 ORDER BY id DESC LIMIT 1000
    ) AS piece
    WHERE created_at >= $3 AND created_at < $4 AND amount >= $5 AND amount <= $6
      AND ($7::smallint IS NULL OR status = $7) AND ($8::text IS NULL OR merchant_id = $8)
    ORDER BY id DESC LIMIT $10
)
SELECT *, CASE WHEN page.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = page.id), 'balance') END AS channel, false AS edge FROM page
UNION ALL
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END, true FROM pay_orders
WHERE (SELECT count(*) FROM page) < $10 AND id = (
    SELECT id FROM pay_orders WHERE payer_id = $9 AND id >= $1 AND id < $2 ORDER BY id DESC OFFSET 999 LIMIT 1
)
ORDER BY edge, id DESC;

-- name: newest_of_all
WITH page AS MATERIALIZED (
    SELECT * FROM (
        SELECT * FROM pay_orders WHERE id >= $1 AND id < $2 ORDER BY id DESC LIMIT 5000
    ) AS piece
    WHERE created_at >= $3 AND created_at < $4 AND amount >= $5 AND amount <= $6
      AND ($7::smallint IS NULL OR status = $7) AND ($8::text IS NULL OR merchant_id = $8)
      AND ($9::text IS NULL OR payer_id = $9)
    ORDER BY id DESC LIMIT $10
)
SELECT *, CASE WHEN page.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = page.id), 'balance') END AS channel, false AS edge FROM page
UNION ALL
SELECT *, CASE WHEN pay_orders.status = 3 THEN coalesce(
           (SELECT channel FROM pay_order_channels WHERE pay_order_id = pay_orders.id), 'balance') END, true FROM pay_orders
WHERE (SELECT count(*) FROM page) < $10 AND id = (
    SELECT id FROM pay_orders WHERE id >= $1 AND id < $2 ORDER BY id DESC OFFSET 4999 LIMIT 1
)
ORDER BY edge, id DESC;

-- name: newest_refunds
-- $7: status; $8: merchant; $9: payer; $10: rows.
WITH page AS MATERIALIZED (
    SELECT piece.id, pay_order_id, biz_order_no, merchant_id, payer_id, piece.amount, currency, reason, piece.created_at,
           coalesce(channel_refunds.state, 'SUCCEEDED') AS status
    FROM (SELECT * FROM refunds WHERE id >= $1 AND id < $2 ORDER BY id DESC LIMIT 5000) AS piece
    JOIN pay_orders ON pay_orders.id = piece.pay_order_id
    LEFT JOIN channel_refunds ON channel_refunds.id = piece.id
    WHERE piece.created_at >= $3 AND piece.created_at < $4 AND piece.amount >= $5 AND piece.amount <= $6
      AND ($8::text IS NULL OR merchant_id = $8) AND ($9::text IS NULL OR payer_id = $9)
      AND ($7::text IS NULL OR coalesce(channel_refunds.state, 'SUCCEEDED') = $7)
    ORDER BY piece.id DESC LIMIT $10
)
SELECT *, false AS edge FROM page
UNION ALL
SELECT refunds.id, pay_order_id, biz_order_no, merchant_id, payer_id, refunds.amount, currency, reason,
       refunds.created_at, 'SUCCEEDED', true
FROM refunds JOIN pay_orders ON pay_orders.id = refunds.pay_order_id
WHERE (SELECT count(*) FROM page) < $10 AND refunds.id = (
    SELECT id FROM refunds WHERE id >= $1 AND id < $2 ORDER BY id DESC OFFSET 4999 LIMIT 1
)
ORDER BY edge, id DESC;

-- name: find_refunds
SELECT refunds.id, pay_order_id, biz_order_no, merchant_id, payer_id, refunds.amount, currency, reason,
       refunds.created_at, coalesce(channel_refunds.state, 'SUCCEEDED') AS status
FROM refunds
JOIN pay_orders ON pay_orders.id = refunds.pay_order_id
LEFT JOIN channel_refunds ON channel_refunds.id = refunds.id
WHERE refunds.id = ANY($1::bigint[]) AND merchant_id = $2
ORDER BY refunds.id DESC;
