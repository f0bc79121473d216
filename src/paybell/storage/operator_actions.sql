-- name: note_action
INSERT INTO operator_actions (at, who, action, selection, rows) VALUES ($1, $2, $3, $4, $5) RETURNING id;

-- name: list_actions
SELECT id, at, who, action, selection, cardinality(rows) AS rows
FROM operator_actions WHERE id < $1 ORDER BY id DESC LIMIT $2;
