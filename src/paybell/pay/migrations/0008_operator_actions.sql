-- What operators and support did by hand, written in the transaction of the deed. A record that can be edited is none.
CREATE TABLE operator_actions (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    who        text NOT NULL CHECK (length(who) BETWEEN 1 AND 255),
    action     text NOT NULL CHECK (length(action) BETWEEN 1 AND 64),
    selection  text NOT NULL,
    rows       bigint[] NOT NULL
);

CREATE TRIGGER operator_actions_are_immutable BEFORE UPDATE OR DELETE ON operator_actions
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER operator_actions_are_kept BEFORE TRUNCATE ON operator_actions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
