-- name: begin_lines
CREATE TEMPORARY TABLE statement_lines (
    line         bigint PRIMARY KEY,
    kind         transfer_kind NOT NULL,
    reference    text NOT NULL,
    amount       bigint NOT NULL,
    currency     text NOT NULL,
    by_id        bigint,
    by_order     bigint,
    transfer_id  bigint
) ON COMMIT DROP;

-- name: begin_accounts
-- The accounts whose transfers are compared: the merchant's, and where top-ups come from.
CREATE TEMPORARY TABLE statement_accounts (id bigint PRIMARY KEY, currency text NOT NULL) ON COMMIT DROP;

-- name: add_accounts
INSERT INTO statement_accounts (id, currency)
SELECT id, currency FROM accounts WHERE kind = 'funding' OR kind = 'merchant' AND owner_id = $1;

-- name: add_lines
INSERT INTO statement_lines (line, kind, reference, amount, currency)
SELECT line, kind::transfer_kind, reference, amount, currency
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[])
    AS read (line, kind, reference, amount, currency);

-- name: analyze_lines
ANALYZE statement_lines;

-- name: match_ids
-- Lines that give the id of a pay order or of a refund of this merchant, also of one that came back.
UPDATE statement_lines AS lines SET by_id = transfers.id
FROM transfers JOIN statement_accounts AS accounts
    ON accounts.id = CASE WHEN transfers.kind IN ('payment', 'refund_failed')
                     THEN transfers.credit_account ELSE transfers.debit_account END
WHERE transfers.reference = lines.reference AND transfers.kind = lines.kind AND lines.kind <> 'top_up';

-- name: match_business_orders
-- Lines of payments that give the merchant's own number of the order.
UPDATE statement_lines AS lines SET by_order = transfers.id
FROM (
    SELECT line, CASE WHEN reference ~ '^[0-9]{1,19}$' AND reference::numeric < 2::numeric ^ 63
                 THEN reference::bigint END AS number
    FROM statement_lines WHERE kind = 'payment'
) AS read
JOIN pay_orders AS orders ON orders.merchant_id = $1 AND orders.biz_order_no = read.number
JOIN transfers ON transfers.reference = orders.id::text AND transfers.kind = 'payment'
WHERE lines.line = read.line;

-- name: match_top_ups
-- Lines that give the reference of a top-up, or its Idempotency-Key where it has none. The same one may stand
-- for several top-ups: the first line is the first of them.
WITH ours AS (
    SELECT transfers.id, named.reference,
           row_number() OVER (PARTITION BY named.reference ORDER BY transfers.id) AS nth,
           count(*) OVER (PARTITION BY named.reference) AS times
    FROM statement_accounts AS accounts
    JOIN transfers ON transfers.debit_account = accounts.id AND transfers.kind = 'top_up'
    LEFT JOIN top_up_references AS given ON given.transfer_id = transfers.id
    CROSS JOIN LATERAL (
        SELECT coalesce(given.reference, split_part(transfers.reference, ' ', 2)) AS reference
    ) AS named
    WHERE named.reference IN (SELECT reference FROM statement_lines WHERE kind = 'top_up')
), theirs AS (
    SELECT line, reference, row_number() OVER (PARTITION BY reference ORDER BY line) AS nth
    FROM statement_lines WHERE kind = 'top_up'
)
UPDATE statement_lines AS lines SET by_id = ours.id
FROM theirs JOIN ours ON ours.reference = theirs.reference AND ours.nth = least(theirs.nth, ours.times)
WHERE lines.line = theirs.line;

-- name: choose_matches
-- Our ids and a merchant's order numbers may be the same number; a file gives one of the two throughout.
UPDATE statement_lines SET transfer_id = CASE WHEN votes.orders THEN coalesce(by_order, by_id) ELSE coalesce(by_id, by_order) END
FROM (SELECT count(by_order) > count(by_id) AS orders FROM statement_lines WHERE kind = 'payment') AS votes;

-- name: index_matches
CREATE INDEX ON statement_lines (transfer_id, line);

-- name: days_matched
-- The first and the last transfer that lines speak of, and the currencies and kinds of all lines.
SELECT min(transfers.created_at) AS first, max(transfers.created_at) AS last,
       array_agg(DISTINCT lines.currency) AS currencies, array_agg(DISTINCT lines.kind::text) AS kinds
FROM statement_lines AS lines LEFT JOIN transfers ON transfers.id = lines.transfer_id;

-- name: match_lines
-- The next lines, each beside its transfer.
SELECT lines.line, lines.reference, lines.amount, lines.currency, transfers.amount AS our_amount,
       accounts.currency AS our_currency, transfers.created_at,
       EXISTS (SELECT 1 FROM statement_lines AS earlier
               WHERE earlier.transfer_id = lines.transfer_id AND earlier.line < lines.line) AS again
FROM statement_lines AS lines
LEFT JOIN transfers ON transfers.id = lines.transfer_id
LEFT JOIN accounts ON accounts.id = transfers.debit_account
WHERE lines.line > $1
ORDER BY lines.line LIMIT $2;

-- name: count_transfers
-- The transfers of these kinds, currencies and this time, and how many of them no line speaks of.
SELECT count(*) AS transfers, count(*) FILTER (WHERE NOT EXISTS (
           SELECT 1 FROM statement_lines AS lines WHERE lines.transfer_id = transfers.id)) AS missing
FROM statement_accounts AS accounts
JOIN transfers ON transfers.created_at >= $3 AND transfers.created_at < $4
    AND (transfers.kind IN ('payment', 'refund_failed') AND transfers.credit_account = accounts.id
         OR transfers.kind NOT IN ('payment', 'refund_failed') AND transfers.debit_account = accounts.id)
WHERE accounts.currency = ANY($1::text[]) AND transfers.kind = ANY($2::text[]::transfer_kind[]);

-- name: missing_transfers
-- Those of them that no line speaks of, the first ones.
SELECT coalesce(given.reference, CASE transfers.kind WHEN 'top_up' THEN split_part(transfers.reference, ' ', 2)
                                 ELSE transfers.reference END) AS reference,
       transfers.amount, accounts.currency
FROM statement_accounts AS accounts
JOIN transfers ON transfers.created_at >= $3 AND transfers.created_at < $4
    AND (transfers.kind IN ('payment', 'refund_failed') AND transfers.credit_account = accounts.id
         OR transfers.kind NOT IN ('payment', 'refund_failed') AND transfers.debit_account = accounts.id)
LEFT JOIN top_up_references AS given ON given.transfer_id = transfers.id
WHERE accounts.currency = ANY($1::text[]) AND transfers.kind = ANY($2::text[]::transfer_kind[])
  AND NOT EXISTS (SELECT 1 FROM statement_lines AS lines WHERE lines.transfer_id = transfers.id)
ORDER BY transfers.created_at, transfers.id LIMIT $5;
