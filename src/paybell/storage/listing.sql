-- name: walk_along_indexes
-- A page is read in the order of an index, whatever the planner thinks of it: a plan that sorts reads everything first.
SELECT set_config(name, 'off', true)
FROM unnest('{enable_seqscan,enable_bitmapscan,enable_sort,enable_hashjoin,enable_mergejoin}'::text[]) AS name;
