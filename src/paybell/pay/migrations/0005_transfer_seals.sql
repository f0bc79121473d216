-- A hash chain over transfers, written behind the paying path: what is sealed cannot be changed unseen.
-- A block names its rows (ids), each row's own digest (8 bytes of SHA-256, in the order of ids) so that a
-- changed one can be named, the SHA-256 of all of them, and that of the chain up to here.
CREATE TABLE transfer_seals (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    last_id      bigint NOT NULL UNIQUE,
    ids          bigint[] NOT NULL,
    row_digests  bytea NOT NULL,
    digest       bytea NOT NULL CHECK (length(digest) = 32),
    chain        bytea NOT NULL CHECK (length(chain) = 32),
    sealed_at    timestamptz NOT NULL,
    CONSTRAINT every_row_has_a_digest CHECK (length(row_digests) = 8 * cardinality(ids))
);

CREATE TRIGGER transfer_seals_are_immutable BEFORE UPDATE OR DELETE ON transfer_seals
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- What of a transfer is sealed; times to the microsecond, whatever a session's settings are.
CREATE FUNCTION transfer_digest(transfer transfers) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(convert_to(concat_ws('|', transfer.id, transfer.kind::text, transfer.reference,
        transfer.debit_account, transfer.credit_account, transfer.amount,
        (extract(epoch FROM transfer.created_at) * 1000000)::bigint), 'UTF8'))
$$;
