-- What came twice or late and its channel refuses to give back for good is given back by people, and two of them say
-- so: then it is settled, and on no list any more.
ALTER TABLE attempt_settlements
    DROP CONSTRAINT attempt_settlements_outcome_check,
    ADD CONSTRAINT attempt_settlements_outcome_check CHECK (outcome IN ('paid', 'not_paid', 'given_back'));
-- An attempt that two people have called paid may still have to be given back.
DROP INDEX one_settlement_asked_per_attempt;
CREATE UNIQUE INDEX one_settlement_asked_per_attempt ON attempt_settlements (attempt_id, (outcome = 'given_back'))
    WHERE withdrawn_at IS NULL;

CREATE OR REPLACE FUNCTION keep_channel_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.attempt_id, NEW.refund_id, NEW.amount, NEW.created_at) IS DISTINCT FROM
       (OLD.id, OLD.attempt_id, OLD.refund_id, OLD.amount, OLD.created_at) THEN
        RAISE EXCEPTION 'a refund stays what it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.state <> 'PENDING' AND NOT (
        OLD.state = 'FAILED' AND OLD.refund_id IS NULL AND NEW.state = 'SUCCEEDED' AND EXISTS (
            SELECT FROM attempt_settlements
            WHERE attempt_id = OLD.attempt_id AND outcome = 'given_back' AND confirmed_at IS NOT NULL)
    ) THEN
        RAISE EXCEPTION 'a refund that is decided stays as it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
