-- name: ensure_system_accounts
-- Accounts of merchants, of funding or of clearing, made where missing, in an order that cannot deadlock.
INSERT INTO accounts (kind, owner_id, currency, created_at)
SELECT $1::account_kind, wanted.owner_id, wanted.currency, $4
FROM unnest($2::text[], $3::text[]) AS wanted (owner_id, currency)
ORDER BY wanted.owner_id, wanted.currency
ON CONFLICT ON CONSTRAINT one_account_per_owner_and_currency DO NOTHING;

-- name: find_system_accounts
SELECT accounts.id, accounts.owner_id, accounts.currency
FROM unnest($2::text[], $3::text[]) AS wanted (owner_id, currency)
JOIN accounts USING (owner_id, currency)
WHERE accounts.kind = $1::account_kind;

-- name: find_openers
SELECT accounts.owner_id, accounts.currency, wallets.opened_by, wallets.pay_password
FROM unnest($1::text[], $2::text[]) AS wanted (owner_id, currency)
JOIN accounts USING (owner_id, currency)
JOIN wallets ON wallets.account_id = accounts.id
WHERE accounts.kind = 'wallet';

-- name: find_wallet
-- One user's wallet in a currency; without one the CNY wallet, else the first by currency.
SELECT id, owner_id, currency, credits - debits AS balance,
       CASE WHEN wallets.locked_until > now() THEN wallets.locked_until END AS locked_until
FROM accounts JOIN wallets ON wallets.account_id = accounts.id
WHERE owner_id = $1 AND kind = 'wallet' AND ($2::text IS NULL OR currency = $2)
ORDER BY currency <> 'CNY', currency
LIMIT 1;

-- name: lock_wallets
-- Payers' wallets, those that nobody else holds. Both tables are locked, so that the pay password's tries
-- are read as the last holder left them.
SELECT accounts.id AS account_id, accounts.owner_id, accounts.currency, accounts.debits, accounts.credits,
       wallets.pay_password, wallets.failed_tries, wallets.locked_until
FROM accounts
JOIN wallets ON wallets.account_id = accounts.id
WHERE accounts.id IN (
    SELECT wanted_account.id
    FROM unnest($1::text[], $2::text[]) AS wanted (owner_id, currency)
    JOIN accounts AS wanted_account USING (owner_id, currency)
    WHERE wanted_account.kind = 'wallet'
)
ORDER BY accounts.id
FOR NO KEY UPDATE SKIP LOCKED;

-- name: find_wallets
SELECT owner_id, currency
FROM unnest($1::text[], $2::text[]) AS wanted (owner_id, currency)
JOIN accounts USING (owner_id, currency)
WHERE accounts.kind = 'wallet';

-- name: list_currencies
SELECT currency FROM accounts WHERE owner_id = $1 AND kind = 'wallet';

-- name: write_pay_passwords
UPDATE wallets
SET pay_password = tried.pay_password, failed_tries = tried.failed_tries, locked_until = tried.locked_until
FROM unnest($1::bigint[], $2::text[], $3::smallint[], $4::timestamptz[])
    AS tried (account_id, pay_password, failed_tries, locked_until)
WHERE wallets.account_id = tried.account_id;

-- name: post_transfers
WITH posted AS (
    INSERT INTO transfers (kind, reference, debit_account, credit_account, amount, created_at)
    SELECT wanted.kind::transfer_kind, wanted.reference, wanted.debit_account, wanted.credit_account,
           wanted.amount, $6
    FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
        AS wanted (kind, reference, debit_account, credit_account, amount)
    RETURNING debit_account, credit_account, amount
),
-- include: paybell.wallet both_sides
SELECT count(*) FROM posted;

-- name: both_sides
-- The only SQL that moves money, a part of each statement that does: when transfers have gone in as `posted`, both
-- their accounts follow from the rows just written. Wallets change in place, and so do merchants whose money goes
-- out, whose rows are locked then; other merchants, funding and clearing get a posting, which is added to their
-- balance later.
sides AS (
    SELECT account_id, sum(debits)::bigint AS debits, sum(credits)::bigint AS credits
    FROM (
        SELECT debit_account AS account_id, amount AS debits, 0 AS credits FROM posted
        UNION ALL
        SELECT credit_account, 0, amount FROM posted
    ) AS side
    GROUP BY account_id
), appended AS (
    INSERT INTO pending_postings (account_id, debits, credits)
    SELECT sides.account_id, sides.debits, sides.credits
    FROM sides JOIN accounts ON accounts.id = sides.account_id
    WHERE accounts.kind IN ('funding', 'clearing') OR accounts.kind = 'merchant' AND sides.debits = 0
), moved AS (
    UPDATE accounts
    SET debits = accounts.debits + sides.debits, credits = accounts.credits + sides.credits
    FROM sides
    WHERE accounts.id = sides.account_id
      AND (accounts.kind = 'wallet' OR accounts.kind = 'merchant' AND sides.debits > 0)
);

-- name: postings_due
SELECT EXISTS (SELECT FROM pending_postings);

-- name: post_to_balances
-- Move appended postings, the next ones after an id, into their accounts' rows; several processes share the work.
-- An account that somebody holds, or whose totals would leave 64 bits, keeps its own and stops no other.
WITH candidates AS (
    SELECT ctid AS place, id, account_id, debits, credits
    FROM pending_postings WHERE id > $2 ORDER BY id LIMIT $1
    FOR UPDATE SKIP LOCKED
), sums AS (
    SELECT account_id, sum(debits) AS debits, sum(credits) AS credits FROM candidates GROUP BY account_id
), free AS (
    SELECT accounts.id, sums.debits, sums.credits
    FROM accounts JOIN sums ON sums.account_id = accounts.id
    WHERE greatest(accounts.debits + sums.debits, accounts.credits + sums.credits) <= 9223372036854775807
    FOR NO KEY UPDATE OF accounts SKIP LOCKED
), taken AS (
    DELETE FROM pending_postings
    WHERE ctid = ANY(ARRAY(SELECT place FROM candidates JOIN free ON free.id = candidates.account_id))
    RETURNING id
), posted AS (
    UPDATE accounts
    SET debits = accounts.debits + free.debits, credits = accounts.credits + free.credits
    FROM free WHERE accounts.id = free.id
)
SELECT count(*) AS postings, max(id) AS last_id,
       ARRAY(
           SELECT accounts.id FROM accounts JOIN sums ON sums.account_id = accounts.id
           WHERE greatest(accounts.debits + sums.debits, accounts.credits + sums.credits) > 9223372036854775807
       ) AS full_accounts
FROM candidates;

-- name: lock_account
-- No row where somebody else holds it.
SELECT id FROM accounts WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED;

-- name: post_to_account
-- The postings of one account that is locked, as long as its totals fit; then what it holds.
WITH candidates AS (
    SELECT ctid AS place, debits, credits FROM pending_postings WHERE account_id = $1 ORDER BY id FOR UPDATE
), sums AS (
    SELECT coalesce(sum(debits), 0) AS debits, coalesce(sum(credits), 0) AS credits FROM candidates
), fitting AS (
    SELECT sums.debits, sums.credits
    FROM sums JOIN accounts ON accounts.id = $1
    WHERE greatest(accounts.debits + sums.debits, accounts.credits + sums.credits) <= 9223372036854775807
), taken AS (
    DELETE FROM pending_postings
    WHERE ctid = ANY(ARRAY(SELECT place FROM candidates)) AND EXISTS (SELECT FROM fitting)
)
UPDATE accounts
SET debits = accounts.debits + coalesce((SELECT debits FROM fitting), 0),
    credits = accounts.credits + coalesce((SELECT credits FROM fitting), 0)
WHERE accounts.id = $1
RETURNING credits - debits AS balance;

-- name: open_wallets
-- New wallet accounts, each once, in an order that cannot deadlock; no row for a user who has one in this currency.
INSERT INTO accounts (kind, owner_id, currency, created_at)
SELECT DISTINCT 'wallet'::account_kind, wanted.owner_id, wanted.currency, $3::timestamptz
FROM unnest($1::text[], $2::text[]) AS wanted (owner_id, currency)
ORDER BY wanted.owner_id, wanted.currency
ON CONFLICT ON CONSTRAINT one_account_per_owner_and_currency DO NOTHING
RETURNING id, owner_id, currency;

-- name: set_pay_passwords
INSERT INTO wallets (account_id, pay_password, opened_by)
SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]);

-- name: find_top_up_wallets
-- The wallet that each goes into: the one in this currency; without one the CNY wallet, else the first by currency.
SELECT wanted.place, found.owner_id, found.currency
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS wanted (owner_id, currency, place)
CROSS JOIN LATERAL (
    SELECT accounts.owner_id, accounts.currency
    FROM accounts
    WHERE accounts.owner_id = wanted.owner_id AND accounts.kind = 'wallet'
      AND (wanted.currency IS NULL OR accounts.currency = wanted.currency)
    ORDER BY accounts.currency <> 'CNY', accounts.currency
    LIMIT 1
) AS found;

-- name: find_top_ups
SELECT reference FROM transfers WHERE kind = 'top_up' AND reference = ANY($1::text[]);

-- name: keep_top_up_references
INSERT INTO top_up_references (transfer_id, reference)
SELECT transfers.id, given.reference
FROM unnest($1::text[], $2::text[]) AS given (name, reference)
JOIN transfers ON transfers.kind = 'top_up' AND transfers.reference = given.name;
