-- When a relay handed a batch to the broker and had it confirmed: one row for up to some hundred events, written with
-- the removal of their rows. The attempt is part of every message's id, and listeners keep it.
CREATE TABLE relay_batches (
    attempt       text PRIMARY KEY CHECK (length(attempt) BETWEEN 1 AND 32),
    published_at  timestamptz NOT NULL,
    confirmed_at  timestamptz NOT NULL,
    events        integer NOT NULL CHECK (events > 0)
);
CREATE INDEX relay_batches_by_age ON relay_batches USING brin (confirmed_at);
