-- name: newest_transfer_id
-- The newest id given out, the oldest transaction that runs, and which start of which server this is.
SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS last_id,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest_running,
       pg_postmaster_start_time() AS server
FROM transfers_id_seq;

-- name: seals_due
-- Whether there may be a transfer without a seal.
SELECT is_called AND last_value > coalesce((SELECT max(last_id) FROM transfer_seals), 0) FROM transfers_id_seq;

-- name: own_transaction
-- Asked after the newest id: whoever has taken one up to it has a lower transaction id, because writers of
-- transfers hold row locks before they take any. The message makes the commit wait for the disk, so that a
-- server that crashes and recovers under us does not give the same ids out again.
SELECT pg_current_xact_id()::text::bigint AS id, pg_logical_emit_message(true, 'paybell', '');

-- name: try_lock_sealing
SELECT pg_try_advisory_xact_lock(hashtextextended('paybell transfer seals', 0)) AS locked;

-- name: next_block
-- The next transfers in the order of ids, as one block that continues the chain.
WITH before AS (
    SELECT coalesce(max(last_id), 0) AS last_id,
           coalesce((SELECT chain FROM transfer_seals ORDER BY last_id DESC LIMIT 1), ''::bytea) AS chain,
           coalesce((SELECT mac FROM transfer_seals ORDER BY last_id DESC LIMIT 1), '') <> '' AS keyed
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
SELECT block.last_id, block.ids, block.row_digests, block.digest, sha256(before.chain || block.digest) AS chain,
       before.keyed
FROM block, before;

-- name: insert_seal
INSERT INTO transfer_seals (last_id, ids, row_digests, digest, chain, mac, sealed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);
