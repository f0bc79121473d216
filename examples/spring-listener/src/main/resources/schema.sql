CREATE TABLE IF NOT EXISTS inbox (event_id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS points (user_id text PRIMARY KEY, points bigint NOT NULL);
CREATE TABLE IF NOT EXISTS aside (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body bytea NOT NULL,
    reason text NOT NULL
);
