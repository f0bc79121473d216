-- name: plan_as_written
-- Pages are joined by looking rows up: whatever the statistics of the moment, also none, no page reads a
-- whole table.
SELECT set_config(name, 'off', true)
FROM unnest('{enable_hashjoin,enable_mergejoin,enable_seqscan,enable_material,enable_memoize}'::text[]) AS name;

-- name: seals
-- The next blocks of the chain, each with the chain as it should be.
SELECT id, last_id, chain, mac, sealed_at, sha256(coalesce(lag(chain) OVER (ORDER BY last_id), $2::bytea) || digest) = chain AS chained,
       cardinality(ids) AS transfers, coalesce(lag(last_id) OVER (ORDER BY last_id), $1::bigint) AS after
FROM (SELECT * FROM transfer_seals WHERE last_id > $1 ORDER BY last_id LIMIT $3) AS next;

-- name: anchored
-- Which of these heads are in the chain as they were noted.
SELECT last_id FROM unnest($1::bigint[], $2::bytea[]) AS noted (last_id, chain)
JOIN transfer_seals USING (last_id, chain);

-- name: broken_seals
-- Blocks whose transfers are not what was sealed.
SELECT seals.id, seals.last_id
FROM unnest($1::bigint[], $2::bigint[]) AS asked (id, after)
JOIN transfer_seals AS seals USING (id)
CROSS JOIN LATERAL (
    SELECT array_agg(transfers.id ORDER BY transfers.id) AS ids,
           sha256(string_agg(transfer_digest(transfers), ''::bytea ORDER BY transfers.id)) AS digest,
           string_agg(substring(transfer_digest(transfers) FROM 1 FOR 8), ''::bytea ORDER BY transfers.id)
               AS row_digests
    FROM transfers WHERE transfers.id > asked.after AND transfers.id <= seals.last_id
) AS now
WHERE (now.ids, now.digest, now.row_digests) IS DISTINCT FROM (seals.ids, seals.digest, seals.row_digests);

-- name: unsealed_rows
-- Rows of a broken block that differ from what was sealed, are missing, or came later.
SELECT coalesce(sealed.id, transfers.id) AS id,
       CASE WHEN transfers.id IS NULL THEN 'missing' WHEN sealed.id IS NULL THEN 'added' ELSE 'changed' END AS what
FROM (SELECT unnest(seals.ids) AS id,
             substring(seals.row_digests FROM 8 * generate_series(0, cardinality(seals.ids) - 1) + 1 FOR 8) AS digest
      FROM transfer_seals AS seals WHERE seals.id = $1) AS sealed
FULL JOIN (SELECT * FROM transfers WHERE id > $2 AND id <= $3) AS transfers ON transfers.id = sealed.id
WHERE transfers.id IS NULL OR sealed.id IS NULL
   OR substring(transfer_digest(transfers.*::transfers) FROM 1 FOR 8) <> sealed.digest
ORDER BY 1 LIMIT $4;

-- name: begin_sums
CREATE TEMPORARY TABLE verified_sums (
    account_id bigint PRIMARY KEY, debits numeric NOT NULL, credits numeric NOT NULL
) ON COMMIT DROP;

-- name: add_sums
-- What a range of transfers moved, added to what the ranges before it did.
WITH chunk AS (
    SELECT id, debit_account, credit_account, amount FROM transfers WHERE id > $1 ORDER BY id LIMIT $2
), added AS (
    INSERT INTO verified_sums AS sums (account_id, debits, credits)
    SELECT account_id, sum(debits), sum(credits)
    FROM (SELECT debit_account AS account_id, amount AS debits, 0 AS credits FROM chunk
          UNION ALL SELECT credit_account, 0, amount FROM chunk) AS sides
    GROUP BY account_id
    ON CONFLICT (account_id) DO UPDATE
    SET debits = sums.debits + EXCLUDED.debits, credits = sums.credits + EXCLUDED.credits
)
SELECT max(id) AS last_id, count(*) AS transfers FROM chunk;

-- name: add_pending
-- What was appended and is not posted to a balance yet counts against the accounts' rows.
INSERT INTO verified_sums AS sums (account_id, debits, credits)
SELECT account_id, -sum(debits), -sum(credits) FROM pending_postings GROUP BY account_id
ON CONFLICT (account_id) DO UPDATE
SET debits = sums.debits + EXCLUDED.debits, credits = sums.credits + EXCLUDED.credits;

-- name: account_page
SELECT max(id) AS last_id, count(*) AS rows FROM (SELECT id FROM accounts WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: wrong_accounts
-- Accounts that do not hold what their transfers come to, are overdrawn, or wallets without a password.
SELECT accounts.id, 'account_differs' AS what,
       format('%s of %s: debits %s, credits %s, transfers say %s and %s', accounts.kind, accounts.owner_id,
              accounts.debits, accounts.credits, coalesce(sums.debits, 0), coalesce(sums.credits, 0)) AS detail
FROM accounts
LEFT JOIN verified_sums AS sums ON sums.account_id = accounts.id
LEFT JOIN wallets ON wallets.account_id = accounts.id
WHERE accounts.id > $1 AND accounts.id <= $2
  AND (accounts.debits <> coalesce(sums.debits, 0) OR accounts.credits <> coalesce(sums.credits, 0)
       OR (accounts.kind NOT IN ('funding', 'clearing') AND accounts.credits < accounts.debits)
       OR (accounts.kind = 'wallet') <> (wallets.account_id IS NOT NULL))
ORDER BY accounts.id;

-- name: pay_order_page
SELECT max(id) AS last_id, count(*) AS rows FROM (SELECT id FROM pay_orders WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: wrong_pay_orders
-- Paid exactly with one transfer of their amount between the right accounts, the payee's being its
-- merchant's; refunded as their refunds say that have succeeded. Paid from elsewhere exactly with one attempt that
-- succeeded, from its channel's clearing account.
SELECT id, what, '' AS detail
FROM (
    SELECT orders.id, CASE
        WHEN orders.status = 3 AND payment.id IS NULL THEN 'paid_without_transfer'
        WHEN orders.status <> 3 AND payment.id IS NOT NULL THEN 'transfer_without_payment'
        WHEN payment.amount <> orders.amount OR payment.credit_account <> orders.payee_account
            OR payer.owner_id IS DISTINCT FROM
                CASE WHEN payment.id IS NOT NULL THEN coalesce(elsewhere.channel, orders.payer_id) END
            OR payer.kind <> CASE WHEN elsewhere.channel IS NULL THEN 'wallet' ELSE 'clearing' END::account_kind
            OR payer.currency <> orders.currency THEN 'payment_differs'
        WHEN attempt.channel IS DISTINCT FROM elsewhere.channel OR attempt.amount <> orders.amount
            OR attempt.id IS NOT NULL AND orders.status <> 3 THEN 'attempt_differs'
        WHEN payee.kind IS DISTINCT FROM 'merchant' OR payee.owner_id <> orders.merchant_id
            OR payee.currency <> orders.currency THEN 'payee_differs'
        WHEN orders.refunded_amount <> coalesce(given.amount, 0) THEN 'refunds_differ'
        WHEN (orders.status = 3) <> (orders.succeeded_at IS NOT NULL)
            OR (orders.status = 2) <> (orders.closed_at IS NOT NULL) THEN 'status_differs'
        WHEN orders.status IN (0, 1) AND (due.pay_order_id IS NULL) <> (held.pay_order_id IS NOT NULL)
            THEN 'deadline_missing'
        END AS what
    FROM pay_orders AS orders
    LEFT JOIN transfers AS payment ON payment.reference = orders.id::text AND payment.kind = 'payment'
    LEFT JOIN accounts AS payer ON payer.id = payment.debit_account
    LEFT JOIN accounts AS payee ON payee.id = orders.payee_account
    LEFT JOIN LATERAL (
        SELECT sum(refunds.amount) AS amount
        FROM refunds LEFT JOIN channel_refunds ON channel_refunds.id = refunds.id
        WHERE refunds.pay_order_id = orders.id AND coalesce(channel_refunds.state, 'SUCCEEDED') = 'SUCCEEDED'
    ) AS given ON true
    LEFT JOIN pay_order_channels AS elsewhere ON elsewhere.pay_order_id = orders.id
    LEFT JOIN pay_order_holds AS held ON held.pay_order_id = orders.id
    LEFT JOIN attempts AS attempt ON attempt.pay_order_id = orders.id AND attempt.state = 'SUCCEEDED'
    LEFT JOIN pay_order_deadlines AS due
        ON orders.status IN (0, 1) AND due.due_at = orders.expires_at AND due.pay_order_id = orders.id
    WHERE orders.id > $1 AND orders.id <= $2
) AS judged
WHERE what IS NOT NULL
ORDER BY id;

-- name: transfer_page
SELECT max(id) AS last_id, count(*) AS rows FROM (SELECT id FROM transfers WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: wrong_transfers
-- Payments and refunds that no pay order or refund stands for, and other money that no attempt stands for.
SELECT id, kind || '_without_counterpart' AS what, reference AS detail
FROM (
    SELECT transfers.id, transfers.kind::text AS kind, transfers.reference, CASE transfers.kind
        WHEN 'payment' THEN EXISTS (SELECT 1 FROM pay_orders WHERE pay_orders.id = read.number)
        WHEN 'refund' THEN EXISTS (SELECT 1 FROM refunds WHERE refunds.id = read.number)
        WHEN 'refund_failed' THEN EXISTS (
            SELECT 1 FROM channel_refunds AS owed
            WHERE owed.id = read.number AND owed.state = 'FAILED' AND owed.refund_id IS NOT NULL
              AND owed.amount = transfers.amount)
        WHEN 'receipt' THEN EXISTS (
            SELECT 1 FROM attempts
            WHERE attempts.id = read.number AND attempts.state = 'LATE_SUCCESS' AND attempts.amount = transfers.amount)
        WHEN 'return' THEN EXISTS (
            SELECT 1 FROM channel_refunds AS owed
            WHERE owed.id = read.number AND owed.state = 'SUCCEEDED' AND owed.refund_id IS NULL
              AND owed.amount = transfers.amount)
        ELSE true END AS founded
    FROM transfers, LATERAL (
        SELECT CASE WHEN reference ~ '^[0-9]{1,19}$' AND reference::numeric < 2::numeric ^ 63
               THEN reference::bigint ELSE 0 END AS number
    ) AS read
    WHERE transfers.id > $1 AND transfers.id <= $2
) AS judged
WHERE NOT founded
ORDER BY id;

-- name: refund_page
SELECT max(id) AS last_id, count(*) AS rows FROM (SELECT id FROM refunds WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: wrong_refunds
-- Refunds without their transfer, or with another one than from payee to payer.
SELECT refunds.id, 'refund_differs' AS what, 'of pay order ' || refunds.pay_order_id AS detail
FROM refunds
LEFT JOIN transfers ON transfers.reference = refunds.id::text AND transfers.kind = 'refund'
LEFT JOIN pay_orders AS orders ON orders.id = refunds.pay_order_id
LEFT JOIN accounts AS payer ON payer.id = transfers.credit_account
LEFT JOIN pay_order_channels AS elsewhere ON elsewhere.pay_order_id = refunds.pay_order_id
LEFT JOIN channel_refunds AS owed ON owed.id = refunds.id
WHERE refunds.id > $1 AND refunds.id <= $2
  AND (transfers.amount IS DISTINCT FROM refunds.amount
       OR transfers.debit_account IS DISTINCT FROM orders.payee_account
       OR payer.owner_id IS DISTINCT FROM coalesce(elsewhere.channel, orders.payer_id)
       OR (owed.state IS NOT DISTINCT FROM 'FAILED') <> EXISTS (
           SELECT 1 FROM transfers AS undone
           WHERE undone.reference = refunds.id::text AND undone.kind = 'refund_failed'))
ORDER BY refunds.id;

-- name: attempt_page
SELECT max(id) AS last_id, count(*) AS rows FROM (SELECT id FROM attempts WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: wrong_attempts
-- What came twice or late without its money set aside or its way back; live ones of which their order knows nothing.
SELECT attempts.id, CASE
        WHEN attempts.state = 'LATE_SUCCESS' AND (receipt.id IS NULL OR owed.id IS NULL) THEN 'receipt_missing'
        WHEN owed.state = 'SUCCEEDED' AND returned.id IS NULL THEN 'return_missing'
        ELSE 'hold_missing' END AS what, 'of pay order ' || attempts.pay_order_id AS detail
FROM attempts
LEFT JOIN transfers AS receipt ON receipt.kind = 'receipt' AND receipt.reference = attempts.id::text
LEFT JOIN transfers AS returned ON returned.kind = 'return' AND returned.reference = attempts.id::text
LEFT JOIN channel_refunds AS owed ON owed.id = attempts.id
LEFT JOIN pay_order_holds AS held ON held.pay_order_id = attempts.pay_order_id
WHERE attempts.id > $1 AND attempts.id <= $2
  AND (attempts.state = 'LATE_SUCCESS' AND (receipt.id IS NULL OR owed.id IS NULL)
       OR owed.state = 'SUCCEEDED' AND returned.id IS NULL
       OR attempts.state IN ('PREPARED', 'SENT', 'OPEN', 'UNKNOWN', 'MANUAL') AND held.pay_order_id IS NULL)
ORDER BY attempts.id;

-- name: event_page
SELECT max(id) AS last_id, count(*) AS rows FROM (SELECT id FROM unpublished_events WHERE id > $1 ORDER BY id LIMIT $2) AS page;

-- name: wrong_events
-- Waiting events of pay orders that do not exist, or of versions they have not reached.
SELECT event.id, 'event_unfounded' AS what, event.event_id AS detail
FROM unpublished_events AS event, LATERAL (
    SELECT CASE WHEN event_id ~ '^[0-9]{1,19}-[0-9]{1,9}$' AND split_part(event_id, '-', 1)::numeric < 2::numeric ^ 63
                THEN split_part(event_id, '-', 1)::bigint END AS number,
           CASE WHEN event_id ~ '^[0-9]{1,19}-[0-9]{1,9}$' THEN split_part(event_id, '-', 2)::int END AS version
) AS read
WHERE event.id > $1 AND event.id <= $2
  AND NOT EXISTS (SELECT 1 FROM pay_orders WHERE id = read.number AND read.version BETWEEN 2 AND pay_orders.version)
ORDER BY event.id;
