-- name: newest_transfer_id
SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last_id FROM transfers_id_seq;

-- name: running_transactions
-- Asked after the newest id: whoever has taken one up to it is running now, or has ended. Whoever writes
-- transfers holds row locks before, so it has its transaction id before it takes transfer ids.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_transaction;

-- name: try_lock_sealing
SELECT pg_try_advisory_xact_lock(hashtextextended('paybell transfer seals', 0)) AS locked;

-- name: seal_block
-- The next transfers in the order of ids, as one block that continues the chain.
WITH before AS (
    SELECT coalesce(max(last_id), 0) AS last_id,
           coalesce((SELECT chain FROM transfer_seals ORDER BY last_id DESC LIMIT 1), ''::bytea) AS chain
    FROM transfer_seals
), rows AS (
    SELECT transfers.id, transfer_digest(transfers) AS digest
    FROM transfers
    WHERE transfers.id > (SELECT last_id FROM before) AND transfers.id <= $1
    ORDER BY transfers.id LIMIT $2
), block AS (
    SELECT max(id) AS last_id, array_agg(id ORDER BY id) AS ids,
           string_agg(substring(digest FROM 1 FOR 8), ''::bytea ORDER BY id) AS row_digests,
           sha256(string_agg(digest, ''::bytea ORDER BY id)) AS digest
    FROM rows HAVING count(*) > 0
)
INSERT INTO transfer_seals (last_id, ids, row_digests, digest, chain, sealed_at)
SELECT block.last_id, block.ids, block.row_digests, block.digest, sha256(before.chain || block.digest), $3
FROM block, before
RETURNING cardinality(ids) AS transfers;
