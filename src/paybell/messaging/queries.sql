-- name: append_events
-- plan once
-- With a lease where a relay of the writer's process publishes them after the commit.
INSERT INTO outbox (event_id, type, subject, body, occurred_at, traceparent, lease_token, leased_until)
SELECT appended.event_id, appended.type, appended.subject, appended.body, $6, appended.traceparent, $7::uuid,
       CASE WHEN $7::uuid IS NOT NULL THEN clock_timestamp() + make_interval(secs => $8) END
FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[])
    AS appended (event_id, type, subject, body, traceparent)
RETURNING id, event_id;

-- name: claim_events
-- The oldest events nobody holds. By state, never by an id cursor: a lower id may commit later; from the floor on,
-- because none does below it.
-- The lease is the server's time, so that relays' clocks need not agree. Rows are found by ctid, which
-- a lock pins, so that no plan can turn a backlog into a scan.
UPDATE outbox
SET lease_token = $1, leased_until = clock_timestamp() + make_interval(secs => $2)
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM outbox
    WHERE id >= coalesce((SELECT id FROM outbox_floor), 0)
      AND (leased_until IS NULL OR leased_until < clock_timestamp())
    ORDER BY id LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING id, event_id, type, subject, body, occurred_at, traceparent;

-- name: events_due
-- Whether there is an event that nobody holds.
SELECT EXISTS (
    SELECT FROM outbox
    WHERE id >= coalesce((SELECT id FROM outbox_floor), 0)
      AND (leased_until IS NULL OR leased_until < clock_timestamp())
);

-- name: finish_events
-- plan once
-- Exactly the rows whose own confirms arrived, and only while the lease is still ours; and when that was.
WITH removed AS (
    DELETE FROM outbox WHERE id = ANY($1::bigint[]) AND lease_token = $2 RETURNING id
), noted AS (
    INSERT INTO relay_batches (attempt, published_at, confirmed_at, events)
    VALUES ($3, $4, $5, $6)
    ON CONFLICT DO NOTHING
)
SELECT count(*) AS removed FROM removed;

-- name: release_events
-- Back to everybody, after a wait in seconds; a lease that is no longer ours is left alone.
UPDATE outbox
SET lease_token = NULL, leased_until = clock_timestamp() + make_interval(secs => $3)
WHERE id = ANY($1::bigint[]) AND lease_token = $2;

-- name: set_events_aside
-- Out of the outbox, while the lease is still ours, with the exchanges that have confirmed; and one row for the route.
WITH route AS (
    INSERT INTO refused_routes (exchange, routing_key, reason, detail, due_at)
    VALUES ($3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
    ON CONFLICT (exchange, routing_key) DO UPDATE SET
        due_at = CASE WHEN refused_routes.refusals = 0 THEN EXCLUDED.due_at ELSE refused_routes.due_at END,
        refusals = greatest(refused_routes.refusals, 1)
    RETURNING xmax = 0 AS new
), moved AS (
    DELETE FROM outbox WHERE id = ANY($1::bigint[]) AND lease_token = $2
    RETURNING id, event_id, type, subject, body, occurred_at, traceparent
), kept AS (
    INSERT INTO refused_events (id, event_id, type, subject, body, occurred_at, traceparent, exchange, routing_key,
                                confirmed)
    SELECT moved.*, $3, $4, string_to_array(given.confirmed, ',')
    FROM moved JOIN unnest($1::bigint[], $8::text[]) AS given (id, confirmed) USING (id)
), noted AS (
    INSERT INTO relay_batches (attempt, published_at, confirmed_at, events)
    VALUES ($9, $10, $11, cardinality($1::bigint[]))
    ON CONFLICT DO NOTHING
)
SELECT new FROM route;

-- name: note_route
INSERT INTO refused_routes (exchange, routing_key, reason, detail, due_at)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5))
ON CONFLICT (exchange, routing_key) DO UPDATE SET
    due_at = CASE WHEN refused_routes.refusals = 0 THEN EXCLUDED.due_at ELSE refused_routes.due_at END,
    refusals = greatest(refused_routes.refusals, 1)
RETURNING xmax = 0 AS new;

-- name: refused_routes
SELECT exchange, routing_key, reason, detail, since, (
    SELECT count(*) FROM (
        SELECT 1 FROM refused_events AS event
        WHERE (event.exchange, event.routing_key) = (route.exchange, route.routing_key)
        LIMIT 100000
    ) AS bounded
) AS events
FROM refused_routes AS route
ORDER BY since, exchange, routing_key;

-- name: routes_due
SELECT EXISTS (SELECT FROM refused_routes WHERE due_at <= clock_timestamp());

-- name: take_due_route
UPDATE refused_routes
SET lease_token = $1, due_at = clock_timestamp() + make_interval(secs => $2)
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM refused_routes WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT 1
    FOR NO KEY UPDATE SKIP LOCKED
))
RETURNING exchange, routing_key, refusals, most;

-- name: refused_events
SELECT id, event_id, type, subject, body, occurred_at, traceparent, confirmed
FROM refused_events WHERE exchange = $1 AND routing_key = $2
ORDER BY tried_at, id LIMIT $3;

-- name: lock_route
-- Against whoever sets events aside meanwhile: what follows sees all of them, or comes before.
SELECT 1 FROM refused_routes WHERE exchange = $1 AND routing_key = $2 AND lease_token = $3 FOR UPDATE;

-- name: finish_refused
WITH removed AS (
    DELETE FROM refused_events WHERE id = ANY($1::bigint[])
)
INSERT INTO relay_batches (attempt, published_at, confirmed_at, events)
VALUES ($2, $3, $4, $5)
ON CONFLICT DO NOTHING;

-- name: keep_refused
UPDATE refused_events AS event
SET exchange = given.exchange, routing_key = given.routing_key, refusals = event.refusals + 1,
    confirmed = event.confirmed || string_to_array(given.confirmed, ','), tried_at = clock_timestamp()
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS given (id, exchange, routing_key, confirmed)
WHERE event.id = given.id;

-- name: waits_for_route
SELECT EXISTS (SELECT 1 FROM refused_events WHERE exchange = $1 AND routing_key = $2) AS waits;

-- name: plan_route
UPDATE refused_routes
SET refusals = $3, most = least($4, 65536), due_at = clock_timestamp() + make_interval(secs => $5), lease_token = NULL
WHERE exchange = $1 AND routing_key = $2;

-- name: plan_refusing_route
UPDATE refused_routes
SET refusals = $3, most = $4, due_at = clock_timestamp() + make_interval(secs => $5), lease_token = NULL,
    reason = $6, detail = $7
WHERE exchange = $1 AND routing_key = $2;

-- name: forget_route
DELETE FROM refused_routes WHERE exchange = $1 AND routing_key = $2;

-- name: outbox_state
-- How many events wait (counted up to a bound: a backlog must not make watching it slow), and since when.
WITH waiting AS MATERIALIZED (
    SELECT id, occurred_at FROM outbox WHERE id >= coalesce((SELECT id FROM outbox_floor), 0) ORDER BY id LIMIT 100000
)
SELECT (SELECT count(*) FROM waiting) AS pending,
       coalesce(extract(epoch FROM clock_timestamp()
                        - (SELECT occurred_at FROM waiting ORDER BY id LIMIT 1)), 0)::float8 AS oldest_age_seconds;

-- name: look_at_outbox
-- The newest id, and the transactions that may have taken one up to it and not decided yet whether its row is there:
-- looked for after it, since who takes a lower id has the lock already.
WITH newest AS MATERIALIZED (
    SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')::regclass), 0) AS id
)
SELECT id AS newest, ARRAY(
    SELECT virtualtransaction FROM pg_locks
    WHERE newest.id >= 0 AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock'
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS writers
FROM newest;

-- name: floor_due
-- Whether it could be raised by a step.
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('outbox', 'id')::regclass), 0)
    > coalesce((SELECT id FROM outbox_floor), 0) + 1000;

-- name: raise_floor
-- To the lowest row there is, or past $1, up to which all is decided; not for less than $2.
UPDATE outbox_floor SET id = lowest.id
FROM (
    SELECT coalesce(min(id), $1::bigint + 1) AS id FROM (
        SELECT id FROM outbox
        WHERE id >= coalesce((SELECT id FROM outbox_floor), 0) AND id <= $1 ORDER BY id LIMIT 1
    ) AS first
) AS lowest
WHERE lowest.id >= outbox_floor.id + $2
RETURNING outbox_floor.id;

-- name: remember_events
-- plan once
-- The inbox: answers only the ids this listener has never applied.
INSERT INTO inbox (listener, event_id, received_at, attempt)
SELECT $1, event_id, $3, attempt FROM unnest($2::text[], $4::text[]) AS arrived (event_id, attempt)
ORDER BY event_id
ON CONFLICT DO NOTHING
RETURNING event_id;

-- name: forget_events
DELETE FROM inbox WHERE listener = $1 AND event_id = ANY($2::text[]);

-- name: keep_failures
-- One row for each thing received that a listener could not apply; the same again is only counted.
INSERT INTO failed_deliveries (listener, event_id, state, reason, error, attempts, exchange, routing_key,
                               content_type, headers, body, first_failed_at, last_failed_at, due_at, received,
                               fingerprint)
SELECT $1, failed.event_id, failed.state, failed.reason, failed.error, failed.attempts, failed.exchange,
       failed.routing_key, failed.content_type, failed.headers::jsonb, failed.body, $11, $11, failed.due_at,
       failed.received, failed.fingerprint
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::text[], $8::text[], $9::text[],
            $10::text[], $12::bytea[], $13::timestamptz[], $14::int[], $15::text[])
    AS failed (event_id, state, reason, error, attempts, exchange, routing_key, content_type, headers,
               body, due_at, received, fingerprint)
ORDER BY failed.event_id, failed.fingerprint
ON CONFLICT ON CONSTRAINT failed_once_per_listener
DO UPDATE SET received = failed_deliveries.received + EXCLUDED.received, last_failed_at = EXCLUDED.last_failed_at;

-- name: failures_due
SELECT EXISTS (SELECT FROM failed_deliveries WHERE listener = $2 AND state = 'retry' AND due_at <= $1);

-- name: take_due_failures
-- Taken for a while, so that no two processes have one in hand; whoever dies leaves it due again after.
UPDATE failed_deliveries
SET due_at = $2 + make_interval(secs => $4)
WHERE id IN (
    SELECT id FROM failed_deliveries
    WHERE listener = $1 AND state = 'retry' AND due_at <= $2
    ORDER BY due_at, id LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING id, event_id, attempts, first_failed_at, exchange, routing_key, content_type, headers, body;

-- name: lock_failures
-- Those that still wait, and are not in the hands of another process.
SELECT id FROM failed_deliveries
WHERE id = ANY($1::bigint[]) AND state = 'retry'
FOR UPDATE SKIP LOCKED;

-- name: forget_failures
DELETE FROM failed_deliveries WHERE id = ANY($1::bigint[]);

-- name: write_failures
UPDATE failed_deliveries
SET state = tried.state, reason = tried.reason, error = tried.error, attempts = tried.attempts,
    due_at = tried.due_at, last_failed_at = $7
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[])
    AS tried (id, state, reason, error, attempts, due_at)
WHERE failed_deliveries.id = tried.id;

-- name: find_suspects
SELECT fingerprint, size, deaths FROM suspected_deliveries
WHERE listener = $1 AND fingerprint = ANY($2::text[]);

-- name: record_suspects
INSERT INTO suspected_deliveries (listener, fingerprint, size, deaths, recorded_at)
SELECT $1, fingerprint, $3, 1, $4 FROM unnest($2::text[]) AS suspected (fingerprint)
ON CONFLICT (listener, fingerprint)
DO UPDATE SET size = EXCLUDED.size, deaths = suspected_deliveries.deaths + 1, recorded_at = EXCLUDED.recorded_at;

-- name: clear_suspects
DELETE FROM suspected_deliveries
WHERE listener = $1 AND (fingerprint = ANY($2::text[]) OR recorded_at < $3::timestamptz - interval '1 day');

-- name: listener_database
-- Whether a listener can work with it: it is no standby, and what failures are kept in can be read.
SELECT current_setting('transaction_read_only') = 'off'
       AND (SELECT count(*) FROM (SELECT 1 FROM failed_deliveries LIMIT 1) AS one) >= 0 AS writable;

-- name: list_failures
SELECT id, listener, event_id, state, reason, attempts, received, routing_key, first_failed_at,
       last_failed_at, due_at
FROM failed_deliveries
WHERE ($1::text IS NULL OR state = $1)
  AND ($2::text IS NULL OR reason = $2)
  AND ($5::text IS NULL OR listener = $5)
  AND id > $3
ORDER BY id
LIMIT $4;

-- name: count_chosen
SELECT count(*) AS rows FROM (
    SELECT 1 FROM failed_deliveries
    WHERE state = $1 AND ($2::text IS NULL OR reason = $2) AND ($3::text IS NULL OR listener = $3)
    LIMIT 100000
) AS bounded;

-- name: group_failures
SELECT state, listener, reason, count(*) AS rows, min(first_failed_at) AS since
FROM failed_deliveries
GROUP BY state, listener, reason
ORDER BY state, rows DESC, listener, reason
LIMIT 100;

-- name: find_failure
SELECT id, listener, event_id, state, reason, attempts, received, routing_key, first_failed_at,
       last_failed_at, due_at, error, exchange, content_type, headers, body, fingerprint, acknowledged_at
FROM failed_deliveries WHERE id = $1;

-- name: replay_failures
-- Dead letters become due now; the listener takes them up under their own event ids. Those that were acknowledged come
-- only by number.
UPDATE failed_deliveries
SET state = 'retry', due_at = $4, attempts = 1, acknowledged_at = NULL
WHERE id IN (
    SELECT id FROM failed_deliveries
    WHERE (state = 'dead' OR state = 'acknowledged' AND id = ANY($1))
      AND ($1::bigint[] IS NULL OR id = ANY($1)) AND ($2::text IS NULL OR reason = $2)
      AND ($5::text IS NULL OR listener = $5) AND ($6::timestamptz IS NULL OR last_failed_at <= $6)
    ORDER BY id LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: acknowledge_failures
UPDATE failed_deliveries
SET state = 'acknowledged', acknowledged_at = $4
WHERE id IN (
    SELECT id FROM failed_deliveries
    WHERE state = 'dead' AND ($1::bigint[] IS NULL OR id = ANY($1)) AND ($2::text IS NULL OR reason = $2)
      AND ($5::text IS NULL OR listener = $5) AND ($6::timestamptz IS NULL OR last_failed_at <= $6)
    ORDER BY id LIMIT $3
    FOR UPDATE SKIP LOCKED
)
RETURNING id;

-- name: outcome_of_replays
-- Of what was replayed under these actions: gone means that its listener has applied it.
SELECT count(*) FILTER (WHERE kept.id IS NULL) AS applied,
       count(*) FILTER (WHERE kept.state = 'retry') AS waiting,
       count(*) FILTER (WHERE kept.state IN ('dead', 'acknowledged')) AS failed_again
FROM operator_actions AS action CROSS JOIN unnest(action.rows) AS replayed (id)
LEFT JOIN failed_deliveries AS kept ON kept.id = replayed.id
WHERE action.id = ANY($1::bigint[]) AND action.action = 'replay';

-- name: count_failures
-- Up to a bound: a heap of failures must not make watching it slow.
SELECT state, (SELECT count(*) FROM (SELECT 1 FROM failed_deliveries WHERE failed_deliveries.state = states.state LIMIT 100000) AS bounded) AS rows
FROM unnest(ARRAY['retry', 'dead']) AS states (state);

-- name: remove_relay_batches
DELETE FROM relay_batches
WHERE ctid = ANY(ARRAY(SELECT ctid FROM relay_batches WHERE confirmed_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED));

-- name: remove_inbox
-- What was applied is remembered for as long as a copy that failed is kept, and may be replayed.
DELETE FROM inbox
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM inbox
    WHERE received_at < $1
      AND NOT EXISTS (SELECT 1 FROM failed_deliveries AS kept
                      WHERE kept.listener = inbox.listener AND kept.event_id = inbox.event_id)
    LIMIT $2 FOR UPDATE SKIP LOCKED
));

-- name: remove_dead_letters
-- Only those that somebody has acknowledged: nothing is given up that nobody has seen.
DELETE FROM failed_deliveries
WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM failed_deliveries WHERE state = 'acknowledged' AND acknowledged_at < $1 LIMIT $2
    FOR UPDATE SKIP LOCKED
));
