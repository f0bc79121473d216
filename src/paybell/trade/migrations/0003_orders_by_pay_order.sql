-- Orders by their pay orders' ids, which are in the order of time: reconciling reads ranges of them.
-- A block range index is a few pages, and lets updates stay inside their page (PostgreSQL 16 and newer).
CREATE INDEX orders_by_pay_order ON orders USING brin (pay_order_id)
    WITH (pages_per_range = 32, autosummarize = on);
