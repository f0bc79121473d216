-- floor: 0003
-- Dead letters that an operator has looked into and gives up; they alone are removed after a time.
ALTER TABLE failed_deliveries
    ADD COLUMN acknowledged_at timestamptz,
    DROP CONSTRAINT failed_deliveries_state_check,
    ADD CONSTRAINT failed_deliveries_state_check CHECK (state IN ('retry', 'dead', 'acknowledged')),
    ADD CONSTRAINT acknowledged_at_exactly_when_acknowledged
        CHECK ((state = 'acknowledged') = (acknowledged_at IS NOT NULL));

-- Each action is a word or two, as in the pay database.
ALTER TABLE operator_actions
    DROP CONSTRAINT operator_actions_action_check,
    ADD CONSTRAINT operator_actions_action_check CHECK (length(action) BETWEEN 1 AND 64);
