-- Which process makes ids with which node number, and until when no other may.
-- Only numbers that were once taken have a row; they are handed out in turn by node_numbers.
CREATE TABLE node_leases (
    node smallint PRIMARY KEY CHECK (node BETWEEN 0 AND 1023),
    holder bigint NOT NULL,
    held_until timestamptz NOT NULL
);
