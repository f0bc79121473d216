-- outside a transaction
-- What lists of pay orders are read along, newest first. No payment changes one of these columns, so that it still
-- updates its row inside the page; only applying for a pay order writes them.
DROP INDEX CONCURRENTLY IF EXISTS pay_orders_of_merchant;
CREATE INDEX CONCURRENTLY pay_orders_of_merchant ON pay_orders (merchant_id, id);
DROP INDEX CONCURRENTLY IF EXISTS pay_orders_of_payer;
CREATE INDEX CONCURRENTLY pay_orders_of_payer ON pay_orders (payer_id, id);
