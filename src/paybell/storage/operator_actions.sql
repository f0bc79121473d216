-- name: note_action
INSERT INTO operator_actions (at, who, action, selection, rows) VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: list_actions
SELECT id, at, who, action, selection, cardinality(rows) AS rows
FROM operator_actions WHERE id < $1 ORDER BY id DESC LIMIT $2;

-- name: list_actions_of_kinds
SELECT id, at, who, action, selection, cardinality(rows) AS rows
FROM operator_actions WHERE action = ANY($3::text[]) AND id < $1 ORDER BY id DESC LIMIT $2;

-- name: list_actions_on_rows
-- Materialized: they are few, and read by their own index.
WITH theirs AS MATERIALIZED (SELECT * FROM operator_actions WHERE rows && $3::bigint[])
SELECT id, at, who, action, selection, cardinality(rows) AS rows
FROM theirs WHERE id < $1 ORDER BY id DESC LIMIT $2;
