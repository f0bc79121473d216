-- name: find_account
-- With the moment and the snapshot of this reading.
SELECT id, currency, now() AS taken_at, pg_current_snapshot()::text AS snapshot FROM accounts
WHERE owner_id = $1 AND kind = $2::account_kind AND ($3::text IS NULL OR currency = $3)
ORDER BY currency <> 'CNY', currency
LIMIT 1;

-- name: transfers_after
-- An account's transfers in the order of time, after a place in it, as they were at a moment whose snapshot is $7;
-- what went out is negative. No transaction lasts for an hour.
SELECT * FROM (
    (SELECT created_at, id, kind::text AS kind, reference, -amount AS amount FROM transfers
     WHERE debit_account = $1 AND (created_at, id) > ($2, $3) AND created_at < $4
       AND (created_at < $6::timestamptz - interval '1 hour' OR written_in(xmin, $7::text::pg_snapshot))
     ORDER BY created_at, id LIMIT $5)
    UNION ALL
    (SELECT created_at, id, kind::text, reference, amount FROM transfers
     WHERE credit_account = $1 AND (created_at, id) > ($2, $3) AND created_at < $4
       AND (created_at < $6::timestamptz - interval '1 hour' OR written_in(xmin, $7::text::pg_snapshot))
     ORDER BY created_at, id LIMIT $5)
) AS both_sides
ORDER BY created_at, id LIMIT $5;
