-- What the runtime role may do with orders; everything else is the owner's.
GRANT SELECT, INSERT, UPDATE (status, pay_order_id, paid_at, cancelled_at, version, refunded_amount) ON orders TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON order_checks TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON owed_refunds TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON node_leases TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON listening_processes TO :role;
GRANT USAGE ON SEQUENCE node_numbers TO :role;
