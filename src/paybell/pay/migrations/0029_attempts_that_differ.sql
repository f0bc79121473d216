-- What a channel says that was not asked for (another amount, merchant or number) stands among an attempt's moves, once
-- for each saying, though the attempt does not move by it.
CREATE UNIQUE INDEX attempt_differs_once ON attempt_moves (attempt_id, detail) WHERE code = 'differs';
