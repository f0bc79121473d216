-- Each query reads one piece of a list: some thousand rows along an index, newest first, and of those the first that
-- are wanted; fewer of one person, whose rows are far from each other. Where the piece had too few, its last row
-- follows, so that reading goes on.
-- $1, $2: older than this row; $3, $4: times; $5, $6: amounts; $7: status; $8: buyer; $9: rows.

-- name: newest_of_all
WITH page AS MATERIALIZED (
    SELECT * FROM (
        SELECT * FROM orders WHERE (created_at, id) < ($1, $2) AND created_at >= $3
        ORDER BY created_at DESC, id DESC LIMIT 5000
    ) AS piece
    WHERE created_at < $4 AND total_fee >= $5 AND total_fee <= $6
      AND ($7::text IS NULL OR status = $7) AND ($8::text IS NULL OR buyer_id = $8)
    ORDER BY created_at DESC, id DESC LIMIT $9
)
SELECT *, false AS edge FROM page
UNION ALL
SELECT *, true FROM orders
WHERE (SELECT count(*) FROM page) < $9 AND id = (
    SELECT id FROM orders WHERE (created_at, id) < ($1, $2) AND created_at >= $3
    ORDER BY created_at DESC, id DESC OFFSET 4999 LIMIT 1
)
ORDER BY edge, created_at DESC, id DESC;

-- name: newest_of_buyer
WITH page AS MATERIALIZED (
    SELECT * FROM (
        SELECT * FROM orders WHERE buyer_id = $8 AND (created_at, id) < ($1, $2) AND created_at >= $3
        ORDER BY created_at DESC, id DESC LIMIT 1000
    ) AS piece
    WHERE created_at < $4 AND total_fee >= $5 AND total_fee <= $6 AND ($7::text IS NULL OR status = $7)
    ORDER BY created_at DESC, id DESC LIMIT $9
)
SELECT *, false AS edge FROM page
UNION ALL
SELECT *, true FROM orders
WHERE (SELECT count(*) FROM page) < $9 AND id = (
    SELECT id FROM orders WHERE buyer_id = $8 AND (created_at, id) < ($1, $2) AND created_at >= $3
    ORDER BY created_at DESC, id DESC OFFSET 999 LIMIT 1
)
ORDER BY edge, created_at DESC, id DESC;
