-- Which publishing brought an event: the way back to the relay's batch.
ALTER TABLE inbox ADD COLUMN attempt text CHECK (length(attempt) BETWEEN 1 AND 32);

CREATE INDEX failed_deliveries_by_state ON failed_deliveries (state, id);

-- Who handed what to whom by hand. A record that can be edited is none.
CREATE TABLE operator_actions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    who        text NOT NULL CHECK (length(who) BETWEEN 1 AND 255),
    action     text NOT NULL CHECK (action IN ('replay', 'repair')),
    selection  text NOT NULL,
    rows       bigint[] NOT NULL
);

CREATE FUNCTION refuse_action_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER operator_actions_are_immutable BEFORE UPDATE OR DELETE ON operator_actions
    FOR EACH ROW EXECUTE FUNCTION refuse_action_change();
