-- What was done to one payment or attempt, and the deeds of a kind, are found without reading all.
CREATE INDEX operator_actions_by_row ON operator_actions USING gin (rows);
CREATE INDEX operator_actions_by_kind ON operator_actions (action, id);
