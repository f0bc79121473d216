-- An account's transfers in the order of time, from either side: what statements are read from.
CREATE INDEX transfers_by_debit_account ON transfers (debit_account, created_at, id);
CREATE INDEX transfers_by_credit_account ON transfers (credit_account, created_at, id);

-- What is removed when it is old; a few pages, because rows come in the order of time.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys USING brin (created_at);
