-- What a database with listeners needs: the inbox and the failed deliveries.

-- Events a listener has applied, written in the transaction of their effect.
CREATE TABLE inbox (
    listener     text NOT NULL,
    event_id     text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 255),
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (listener, event_id)
);

-- Deliveries a listener could not apply. retry: tried again at due_at. dead: kept with its
-- reason until a person replays it.
CREATE TABLE failed_deliveries (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    listener         text NOT NULL,
    event_id         text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 255),
    state            text NOT NULL CHECK (state IN ('retry', 'dead')),
    reason           text NOT NULL,
    error            text NOT NULL,
    attempts         integer NOT NULL CHECK (attempts > 0),
    received         integer NOT NULL DEFAULT 1,
    exchange         text NOT NULL,
    routing_key      text NOT NULL,
    content_type     text NOT NULL,
    headers          jsonb NOT NULL,
    body             bytea NOT NULL,
    first_failed_at  timestamptz NOT NULL,
    last_failed_at   timestamptz NOT NULL,
    due_at           timestamptz,
    CONSTRAINT failed_once_per_listener UNIQUE (listener, event_id),
    CONSTRAINT due_exactly_when_retrying CHECK ((state = 'retry') = (due_at IS NOT NULL))
);

CREATE INDEX failed_deliveries_due ON failed_deliveries (listener, due_at) WHERE state = 'retry';
