#!/bin/sh
# Run once by the image of PostgreSQL, on empty data: both databases, and the role that serves.
set -eu
psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres \
    --set=password="$(cat /run/secrets/runtime_password)" <<'SQL'
CREATE ROLE paybell_runtime LOGIN PASSWORD :'password';
CREATE DATABASE pay ENCODING 'UTF8' TEMPLATE template0;
CREATE DATABASE trade ENCODING 'UTF8' TEMPLATE template0;
SQL
