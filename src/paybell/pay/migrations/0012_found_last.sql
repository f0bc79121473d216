-- What work that one process does for all of them found last, so that each of them can say it.
ALTER TABLE schedules ADD COLUMN found bigint CHECK (found >= 0);
