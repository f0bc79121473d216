-- What keys a block: a MAC over its chain, made by the service with a key that no database holds, as key id$MAC.
-- Blocks of releases before this one, and of a service without PAYBELL_SEAL_KEYS, have none.
ALTER TABLE transfer_seals ADD COLUMN mac text CHECK (length(mac) <= 128);

CREATE TRIGGER transfer_seals_are_kept BEFORE TRUNCATE ON transfer_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER refunds_are_kept BEFORE TRUNCATE ON refunds
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
