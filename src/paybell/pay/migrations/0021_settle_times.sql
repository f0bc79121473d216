-- floor: 0018
-- What each process that takes payments has settled since it began, and when it last said so: the console shows
-- the time of a settlement in whichever process it runs.
CREATE TABLE settle_times (
    process bigint PRIMARY KEY,
    settlements bigint NOT NULL,
    seconds double precision NOT NULL,
    seen_at timestamptz NOT NULL
);
