-- outside a transaction
-- What lists of orders are read along, newest first; shops choose ids, so these are in the order of time. Neither is
-- written when an order is paid.
DROP INDEX CONCURRENTLY IF EXISTS orders_by_age;
CREATE INDEX CONCURRENTLY orders_by_age ON orders (created_at, id);
DROP INDEX CONCURRENTLY IF EXISTS orders_of_buyer;
CREATE INDEX CONCURRENTLY orders_of_buyer ON orders (buyer_id, created_at, id);
