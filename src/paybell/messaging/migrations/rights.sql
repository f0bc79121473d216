-- What the runtime role may do with a listener's tables; everything else is the owner's.
GRANT SELECT, INSERT, UPDATE, DELETE ON inbox TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON failed_deliveries TO :role;
GRANT SELECT, INSERT, UPDATE, DELETE ON suspected_deliveries TO :role;
GRANT SELECT, INSERT ON operator_actions TO :role;
