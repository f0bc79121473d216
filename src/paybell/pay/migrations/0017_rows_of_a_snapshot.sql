-- Whether a row was written when a snapshot was taken, by the row's xmin. That has 32 bits, so it is read as the
-- transaction nearest to the snapshot's end: right for two thousand million transactions before and after.
CREATE FUNCTION written_in(row_xmin xid, taken pg_snapshot) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT pg_visible_in_snapshot(greatest(0, ends + (ahead + 2147483648) % 4294967296 - 2147483648)::text::xid8, taken)
    FROM (SELECT ends, (row_xmin::text::bigint - ends % 4294967296 + 4294967296) % 4294967296 AS ahead
          FROM (SELECT pg_snapshot_xmax(taken)::text::bigint AS ends) AS read) AS compared
$$;
