-- What became of an attempt, move by move: operators read it before they settle one by hand.
CREATE TABLE attempt_moves (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt_id  bigint NOT NULL REFERENCES attempts,
    at          timestamptz NOT NULL,
    state       text NOT NULL,
    code        text NOT NULL,
    detail      text NOT NULL
);
CREATE INDEX attempt_moves_by_attempt ON attempt_moves (attempt_id, id);
CREATE TRIGGER attempt_moves_are_immutable BEFORE UPDATE OR DELETE ON attempt_moves
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Of attempts made before, the last move alone is known.
INSERT INTO attempt_moves (attempt_id, at, state, code, detail)
SELECT id, changed_at, state, code, detail FROM attempts WHERE state <> 'PREPARED' ORDER BY id;

CREATE FUNCTION note_attempt_moves() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO attempt_moves (attempt_id, at, state, code, detail)
    VALUES (NEW.id, NEW.changed_at, NEW.state, NEW.code, NEW.detail);
    RETURN NULL;
END $$;
CREATE TRIGGER attempts_note_their_moves AFTER UPDATE ON attempts
    FOR EACH ROW WHEN (NEW.state <> OLD.state) EXECUTE FUNCTION note_attempt_moves();

-- What came twice or late and has not gone back.
CREATE INDEX channel_returns_open ON channel_refunds (id) WHERE refund_id IS NULL AND state <> 'SUCCEEDED';

-- Whoever asked, or the second person who does not agree, takes it back.
ALTER TABLE attempt_settlements
    ADD COLUMN withdrawn_by text CHECK (length(withdrawn_by) BETWEEN 1 AND 255),
    ADD CONSTRAINT withdrawn_by_somebody CHECK ((withdrawn_by IS NULL) = (withdrawn_at IS NULL));
