-- name: quoted_names
SELECT quote_ident($1) AS role, quote_ident(current_schema()) AS schema,
       EXISTS (SELECT FROM pg_roles WHERE rolname = $1) AS known;

-- name: begin_rights
REVOKE ALL ON ALL TABLES IN SCHEMA :schema FROM :role;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA :schema FROM :role;
GRANT USAGE ON SCHEMA :schema TO :role;
GRANT SELECT ON paybell_schema_versions TO :role;

-- name: owned_tables
-- Tables that this role could change, empty or drop whatever their triggers say.
SELECT count(*) AS tables, current_user AS role
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND pg_has_role(relowner, 'USAGE');
