-- floor: 0003
-- A failure is known by what was received and not by the id its sender claims alone: else a forged event
-- that is dead swallows the true one of the same id.
ALTER TABLE failed_deliveries ADD COLUMN fingerprint text NOT NULL DEFAULT '';
ALTER TABLE failed_deliveries
    DROP CONSTRAINT failed_once_per_listener,
    ADD CONSTRAINT failed_once_per_listener UNIQUE (listener, event_id, fingerprint);

-- What waits for somebody who is to be asked about it has not been tried.
ALTER TABLE failed_deliveries
    DROP CONSTRAINT failed_deliveries_attempts_check,
    ADD CONSTRAINT failed_deliveries_attempts_check CHECK (attempts >= 0);
