-- name: take_node_number
-- The next number in turn; no row if another process holds it. Each database with ids has the sequence
-- node_numbers, which cycles through all of them, and the table node_leases.
INSERT INTO node_leases AS taken (node, holder, held_until)
VALUES (nextval('node_numbers'), $1, clock_timestamp() + make_interval(secs => $2))
ON CONFLICT (node) DO UPDATE SET holder = excluded.holder, held_until = excluded.held_until
WHERE taken.held_until < clock_timestamp()
RETURNING node;

-- name: renew_node_number
-- No row if another process has taken it since.
UPDATE node_leases SET held_until = clock_timestamp() + make_interval(secs => $3)
WHERE node = $1 AND holder = $2
RETURNING node;
