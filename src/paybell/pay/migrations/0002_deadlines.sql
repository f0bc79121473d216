-- When pay orders fall due, beside them: an index on their own table would make every payment
-- write all indexes anew, while a deadline is written once and removed once, off the paying path.
CREATE TABLE pay_order_deadlines (
    due_at        timestamptz NOT NULL,
    pay_order_id  bigint NOT NULL,
    PRIMARY KEY (due_at, pay_order_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

INSERT INTO pay_order_deadlines (due_at, pay_order_id)
SELECT expires_at, id FROM pay_orders WHERE status IN (0, 1);
