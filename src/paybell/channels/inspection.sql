-- name: list_all
SELECT * FROM attempts WHERE ($1::text IS NULL OR state = $1) AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: list_manual
SELECT * FROM attempts
WHERE state = 'MANUAL' AND ($1::text IS NULL OR state = $1) AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: list_in_doubt
-- Materialized: what is not final is few, and read by its own index.
WITH live AS MATERIALIZED (SELECT * FROM attempts WHERE next_query_at IS NOT NULL)
SELECT * FROM live
WHERE ((state IN ('SENT', 'UNKNOWN') AND changed_at < $4) OR expires_at < $4)
  AND ($1::text IS NULL OR state = $1) AND id < $2
ORDER BY id DESC LIMIT $3;

-- name: list_giving_back
WITH owed AS MATERIALIZED (
    SELECT id FROM channel_refunds WHERE refund_id IS NULL AND state <> 'SUCCEEDED' AND state = 'PENDING'
)
SELECT attempts.* FROM owed JOIN attempts ON attempts.id = owed.id
WHERE ($1::text IS NULL OR attempts.state = $1) AND attempts.id < $2
ORDER BY attempts.id DESC LIMIT $3;

-- name: list_not_given_back
WITH owed AS MATERIALIZED (
    SELECT id FROM channel_refunds WHERE refund_id IS NULL AND state <> 'SUCCEEDED' AND state = 'FAILED'
)
SELECT attempts.* FROM owed JOIN attempts ON attempts.id = owed.id
WHERE ($1::text IS NULL OR attempts.state = $1) AND attempts.id < $2
ORDER BY attempts.id DESC LIMIT $3;

-- name: list_differs
WITH differing AS MATERIALIZED (SELECT attempt_id, max(at) AS at FROM attempt_moves WHERE code = 'differs' GROUP BY attempt_id)
SELECT attempts.* FROM differing JOIN attempts ON attempts.id = attempt_id
WHERE (at > $4 OR attempts.state IN ('SENT', 'OPEN', 'UNKNOWN', 'MANUAL'))
  AND ($1::text IS NULL OR attempts.state = $1) AND attempts.id < $2
ORDER BY attempts.id DESC LIMIT $3;

-- name: given_back
SELECT state FROM channel_refunds WHERE id = $1 AND refund_id IS NULL;

-- name: list_disputed
WITH open AS MATERIALIZED (SELECT DISTINCT attempt_id FROM channel_disputes WHERE closed_at IS NULL)
SELECT attempts.* FROM open JOIN attempts ON attempts.id = open.attempt_id
WHERE ($1::text IS NULL OR attempts.state = $1) AND attempts.id < $2
ORDER BY attempts.id DESC LIMIT $3;

-- name: count_needs
SELECT (SELECT count(*) FROM attempts WHERE state = 'MANUAL') AS manual,
       (SELECT count(*) FROM attempts
        WHERE next_query_at IS NOT NULL
          AND ((state IN ('SENT', 'UNKNOWN') AND changed_at < $1) OR expires_at < $1)) AS in_doubt,
       (SELECT count(*) FROM channel_refunds
        WHERE refund_id IS NULL AND state <> 'SUCCEEDED' AND state = 'PENDING') AS giving_back,
       (SELECT count(*) FROM channel_refunds
        WHERE refund_id IS NULL AND state <> 'SUCCEEDED' AND state = 'FAILED') AS not_given_back,
       (SELECT count(DISTINCT attempts.id) FROM attempt_moves JOIN attempts ON attempts.id = attempt_id
        WHERE attempt_moves.code = 'differs'
          AND (at > $2 OR attempts.state IN ('SENT', 'OPEN', 'UNKNOWN', 'MANUAL'))) AS differs,
       (SELECT count(DISTINCT attempt_id) FROM channel_disputes WHERE closed_at IS NULL) AS disputed;

-- name: statements
SELECT attempt_id, outcome, reference, note, asked_by, asked_at, confirmed_by, confirmed_at
FROM attempt_settlements WHERE attempt_id = ANY($1::bigint[]) AND withdrawn_at IS NULL ORDER BY id;

-- name: history
-- In the order of time; what happened at once, in the order in which it does.
SELECT at, what, who, words FROM (
    SELECT created_at AS at, 1 AS rank, id AS number, 'PREPARED' AS what, '' AS who, '' AS words
    FROM attempts WHERE id = $1
    UNION ALL
    SELECT asked_at, 2, id, 'asked', asked_by, concat_ws(' · ', outcome, nullif(reference, ''), note)
    FROM attempt_settlements WHERE attempt_id = $1
    UNION ALL
    SELECT withdrawn_at, 3, id, 'withdrawn', withdrawn_by, '' FROM attempt_settlements
    WHERE attempt_id = $1 AND withdrawn_at IS NOT NULL
    UNION ALL
    SELECT confirmed_at, 4, id, 'confirmed', confirmed_by, '' FROM attempt_settlements
    WHERE attempt_id = $1 AND confirmed_at IS NOT NULL
    UNION ALL
    SELECT at, 5, id, CASE code WHEN 'differs' THEN code ELSE state END, '',
           concat_ws(' · ', nullif(nullif(code, ''), 'differs'), nullif(detail, ''))
    FROM attempt_moves WHERE attempt_id = $1
    UNION ALL
    SELECT changed_at, 6, id, 'return_' || lower(state), '', concat_ws(' · ', nullif(code, ''), nullif(detail, ''))
    FROM channel_refunds WHERE id = $1
    UNION ALL
    SELECT opened_at, 7, attempt_id, 'disputed', '', concat_ws(' · ', dispute_id, nullif(reason, ''), amount || ' ' || currency,
           CASE WHEN closed_at IS NULL THEN nullif(status, '') END)
    FROM channel_disputes WHERE attempt_id = $1
    UNION ALL
    SELECT closed_at, 8, attempt_id, 'dispute_closed', '', concat_ws(' · ', dispute_id, nullif(status, ''))
    FROM channel_disputes WHERE attempt_id = $1 AND closed_at IS NOT NULL
) AS moments
ORDER BY at, rank, number LIMIT 1000;
