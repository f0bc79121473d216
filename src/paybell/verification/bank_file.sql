-- name: begin_statement
CREATE TEMPORARY TABLE statement_lines (
    line       bigint PRIMARY KEY,
    reference  text NOT NULL,
    amount     bigint NOT NULL,
    currency   text NOT NULL
) ON COMMIT DROP;

-- name: add_lines
INSERT INTO statement_lines (line, reference, amount, currency)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[]);

-- name: end_statement
CREATE INDEX ON statement_lines (reference);

-- name: match_lines
-- The next lines, each beside its transfer of this kind.
SELECT lines.line, lines.reference, lines.amount, lines.currency, transfers.amount AS our_amount,
       accounts.currency AS our_currency, transfers.created_at,
       EXISTS (SELECT 1 FROM statement_lines AS earlier
               WHERE earlier.reference = lines.reference AND earlier.line < lines.line) AS again
FROM statement_lines AS lines
LEFT JOIN transfers ON transfers.reference = lines.reference AND transfers.kind = $1::transfer_kind
LEFT JOIN accounts ON accounts.id = transfers.debit_account
WHERE lines.line > $2
ORDER BY lines.line LIMIT $3;

-- name: unmatched_transfers
-- Transfers of this kind and time that the statement has no line for.
SELECT transfers.id, transfers.reference, transfers.amount, accounts.currency
FROM transfers JOIN accounts ON accounts.id = transfers.debit_account
WHERE transfers.kind = $1::transfer_kind AND transfers.created_at >= $2 AND transfers.created_at <= $3
  AND transfers.id > $4
  AND NOT EXISTS (SELECT 1 FROM statement_lines WHERE statement_lines.reference = transfers.reference)
ORDER BY transfers.id LIMIT $5;
