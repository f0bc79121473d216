-- What the runtime role may do in the pay database; everything else is the owner's. History can be read and added to.
-- A right to update is also what PostgreSQL asks of whoever locks a row.
GRANT SELECT, INSERT, UPDATE (debits, credits) ON accounts TO :role;
GRANT SELECT, INSERT, UPDATE ON wallets TO :role;
GRANT SELECT, INSERT ON transfers TO :role;
GRANT SELECT ON SEQUENCE transfers_id_seq TO :role;
GRANT SELECT, INSERT ON transfer_seals TO :role;
GRANT SELECT, INSERT ON top_up_references TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON pending_postings TO :role;
GRANT SELECT, INSERT, UPDATE (status, version, succeeded_at, closed_at, refunded_amount) ON pay_orders TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON pay_order_deadlines TO :role;
GRANT SELECT, INSERT ON refunds TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON refused_routes TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON refused_events TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_floor TO :role;
GRANT SELECT ON SEQUENCE outbox_id_seq TO :role;
GRANT SELECT ON unpublished_events TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON relay_batches TO :role;
GRANT SELECT, INSERT, UPDATE ON schedules TO :role;
GRANT SELECT, INSERT ON operator_actions TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON acknowledged_differences TO :role;
GRANT SELECT, INSERT, DELETE ON found_differences TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON node_leases TO :role;
GRANT USAGE ON SEQUENCE node_numbers TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON settle_times TO :role;
