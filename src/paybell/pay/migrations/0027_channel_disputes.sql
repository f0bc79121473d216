-- What buyers dispute at their bank after they have paid: the channel tells of it, people answer it there in time.
CREATE TABLE channel_disputes (
    channel      text NOT NULL,
    dispute_id   text NOT NULL CHECK (length(dispute_id) BETWEEN 1 AND 255),
    attempt_id   bigint NOT NULL REFERENCES attempts,
    amount       bigint NOT NULL CHECK (amount >= 0),
    currency     text NOT NULL CHECK (currency ~ '^[A-Z]{0,3}$'),
    reason       text NOT NULL CHECK (length(reason) <= 255),
    status       text NOT NULL CHECK (length(status) <= 255),
    opened_at    timestamptz NOT NULL,
    closed_at    timestamptz,
    PRIMARY KEY (channel, dispute_id)
);
CREATE INDEX channel_disputes_by_attempt ON channel_disputes (attempt_id);
CREATE INDEX channel_disputes_open ON channel_disputes (attempt_id) WHERE closed_at IS NULL;

CREATE FUNCTION keep_channel_disputes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.closed_at IS NOT NULL OR (NEW.channel, NEW.dispute_id, NEW.attempt_id, NEW.opened_at) IS DISTINCT FROM
                                    (OLD.channel, OLD.dispute_id, OLD.attempt_id, OLD.opened_at) THEN
        RAISE EXCEPTION 'a dispute that is closed stays as it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER channel_disputes_are_closed_once BEFORE UPDATE ON channel_disputes
    FOR EACH ROW EXECUTE FUNCTION keep_channel_disputes();
CREATE TRIGGER channel_disputes_are_kept BEFORE DELETE ON channel_disputes
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
