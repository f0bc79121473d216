-- name: next_node_number
-- Each database with ids has a sequence of this name; it cycles through all node numbers.
SELECT nextval('node_numbers') AS node;
