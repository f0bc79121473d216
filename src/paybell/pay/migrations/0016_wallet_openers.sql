-- Whose token opened a wallet (its `sub`); null for wallets of earlier releases. What opens wallets in bulk, such
-- as a replay, knows its own by it and touches no other.
ALTER TABLE wallets ADD COLUMN opened_by text CHECK (length(opened_by) BETWEEN 1 AND 255);
