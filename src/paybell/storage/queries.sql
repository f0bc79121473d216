-- name: read_state
-- A commit that has waited for 2 s for its standby will probably wait on.
SELECT pg_is_in_recovery() AS standby, EXISTS (
    SELECT FROM pg_stat_activity
    WHERE usename = current_user AND wait_event = 'SyncRep'
        AND state_change < clock_timestamp() - interval '2 s'
) AS commits_wait;

-- name: find_waiting_commits
SELECT pid FROM pg_stat_activity WHERE pid = ANY($1::int[]) AND wait_event = 'SyncRep';

-- name: read_server_time
SELECT clock_timestamp() AS now;

-- name: read_sessions_allowed
-- What the server keeps for superusers is nothing for us.
SELECT least(
    current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int,
    nullif(rolconnlimit, -1),
    nullif(datconnlimit, -1)
) AS allowed
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database();

-- name: read_oldest_snapshot
-- Of the sessions this user may see: its own, and all with pg_read_all_stats.
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 AS seconds
FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND backend_xmin IS NOT NULL
  AND pid <> pg_backend_pid();
