-- floor: 0003
-- What a listener had in hand after a redelivery, written before its handler runs and removed when the
-- process has survived it: in pieces of which size, and how often it was still there at the next start.
CREATE TABLE suspected_deliveries (
    listener     text NOT NULL,
    fingerprint  text NOT NULL,
    size         integer NOT NULL CHECK (size > 0),
    deaths       integer NOT NULL CHECK (deaths > 0),
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (listener, fingerprint)
);
