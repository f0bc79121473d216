-- name: find_account
SELECT id, currency FROM accounts
WHERE owner_id = $1 AND kind = $2::account_kind AND ($3::text IS NULL OR currency = $3)
ORDER BY currency <> 'CNY', currency
LIMIT 1;

-- name: transfers_after
-- An account's transfers in the order of time, after a place in it; what went out is negative.
SELECT * FROM (
    (SELECT created_at, id, kind::text AS kind, reference, -amount AS amount FROM transfers
     WHERE debit_account = $1 AND (created_at, id) > ($2, $3) AND created_at < $4
     ORDER BY created_at, id LIMIT $5)
    UNION ALL
    (SELECT created_at, id, kind::text, reference, amount FROM transfers
     WHERE credit_account = $1 AND (created_at, id) > ($2, $3) AND created_at < $4
     ORDER BY created_at, id LIMIT $5)
) AS both_sides
ORDER BY created_at, id LIMIT $5;
