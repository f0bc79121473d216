-- When work that one process does for all of them is due again.
CREATE TABLE schedules (
    name    text PRIMARY KEY,
    due_at  timestamptz NOT NULL
);
