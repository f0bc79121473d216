-- floor: 0003
-- Which processes of ours listen on which queue, and when each was last heard of: whoever else consumes there
-- takes messages away from us.
CREATE TABLE listening_processes (
    process bigint NOT NULL,
    queue text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (process, queue)
);
