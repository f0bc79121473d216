-- Where RabbitMQ does not take messages: since when, why, and when it is tried again. One row stands for all
-- events behind it, so that trying does not cost a copy of each of them in every queue that does take them.
CREATE TABLE refused_routes (
    exchange     text NOT NULL,
    routing_key  text NOT NULL,
    reason       text NOT NULL CHECK (reason IN ('refused', 'returned', 'denied', 'unanswered')),
    detail       text NOT NULL,
    since        timestamptz NOT NULL DEFAULT clock_timestamp(),
    refusals     integer NOT NULL DEFAULT 1 CHECK (refusals >= 0),
    most         integer NOT NULL DEFAULT 1 CHECK (most > 0),
    due_at       timestamptz NOT NULL,
    lease_token  uuid,
    PRIMARY KEY (exchange, routing_key)
);

-- Events that left the outbox because a message of theirs was refused; ids are the outbox's.
CREATE TABLE refused_events (
    id           bigint PRIMARY KEY,
    event_id     text NOT NULL,
    type         text NOT NULL,
    subject      text NOT NULL,
    body         bytea NOT NULL,
    occurred_at  timestamptz NOT NULL,
    traceparent  text NOT NULL,
    exchange     text NOT NULL,
    routing_key  text NOT NULL,
    confirmed    text[] NOT NULL,
    refusals     integer NOT NULL DEFAULT 1 CHECK (refusals > 0),
    tried_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX refused_events_by_route ON refused_events (exchange, routing_key, tried_at, id);

-- Whatever still has to be published.
CREATE VIEW unpublished_events AS
SELECT id, event_id, type, subject, occurred_at, traceparent, lease_token IS NOT NULL AS held FROM outbox
UNION ALL
SELECT id, event_id, type, subject, occurred_at, traceparent, false FROM refused_events;
