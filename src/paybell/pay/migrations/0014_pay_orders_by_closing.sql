-- outside a transaction
-- What was closed since when, for the comparison of old pay orders. Partial: a payment changes none of its columns, so
-- that it still updates its row inside the page.
DROP INDEX CONCURRENTLY IF EXISTS pay_orders_by_closing;
CREATE INDEX CONCURRENTLY pay_orders_by_closing ON pay_orders (closed_at, id) WHERE closed_at IS NOT NULL;
