-- The bank's own reference of the money that a top-up brought, where its caller gave one: what a bank's
-- statement is matched by.
CREATE TABLE top_up_references (
    transfer_id  bigint PRIMARY KEY REFERENCES transfers,
    reference    text NOT NULL CHECK (length(reference) BETWEEN 1 AND 64)
);

CREATE TRIGGER top_up_references_are_immutable BEFORE UPDATE OR DELETE ON top_up_references
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER top_up_references_are_kept BEFORE TRUNCATE ON top_up_references
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
