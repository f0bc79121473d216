-- name: try_lock
-- Two processes that start at once must not both migrate; the number is arbitrary and ours.
SELECT pg_try_advisory_lock(1885436258) AS locked;

-- name: create_versions
CREATE TABLE IF NOT EXISTS paybell_schema_versions (
    schema      text NOT NULL,
    version     text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (schema, version)
);
ALTER TABLE paybell_schema_versions
    ADD COLUMN IF NOT EXISTS floor text,
    ADD COLUMN IF NOT EXISTS checksum text;

-- name: read_revision
-- Through JSON: a table that an older release made has no column ``floor``.
SELECT max(version) AS current, max(to_jsonb(applied) ->> 'floor') AS floor
FROM paybell_schema_versions AS applied WHERE schema = $1;

-- name: read_applied
SELECT version, checksum FROM paybell_schema_versions WHERE schema = $1;

-- name: note_applied
INSERT INTO paybell_schema_versions (schema, version, floor, checksum) VALUES ($1, $2, $3, $4);

-- name: note_checksum
UPDATE paybell_schema_versions SET checksum = $3 WHERE schema = $1 AND version = $2;
