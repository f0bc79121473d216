-- What an order last heard of its pay order: the version, and what was given back of the money so far.
-- A cancelled order may have been paid all the same (paid_at); its money goes back by itself.
ALTER TABLE orders
    ADD COLUMN version integer NOT NULL DEFAULT 0 CHECK (version >= 0),
    ADD COLUMN refunded_amount bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT orders_status_check,
    ADD CONSTRAINT orders_status_check
        CHECK (status IN ('UNPAID', 'PAID', 'CANCELLED', 'PARTIALLY_REFUNDED', 'REFUNDED')),
    ADD CONSTRAINT refunded_within_fee CHECK (refunded_amount BETWEEN 0 AND total_fee),
    ADD CONSTRAINT refunded_only_when_paid CHECK (refunded_amount = 0 OR paid_at IS NOT NULL),
    ADD CONSTRAINT refund_status_follows_amount CHECK (
        CASE status
            WHEN 'REFUNDED' THEN refunded_amount = total_fee
            WHEN 'PARTIALLY_REFUNDED' THEN refunded_amount > 0 AND refunded_amount < total_fee
            WHEN 'CANCELLED' THEN true
            ELSE refunded_amount = 0
        END
    );

-- Orders that have heard nothing yet, and when pay is asked next. Beside the orders, so that marking
-- one paid writes one row.
CREATE TABLE order_checks (
    order_id  bigint PRIMARY KEY REFERENCES orders,
    asked     integer NOT NULL DEFAULT 0 CHECK (asked >= 0),
    due_at    timestamptz NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX order_checks_due ON order_checks (due_at);

-- Refunds the order service owes: money that came for orders that were cancelled before.
CREATE TABLE owed_refunds (
    order_id  bigint PRIMARY KEY REFERENCES orders,
    asked     integer NOT NULL DEFAULT 0 CHECK (asked >= 0),
    due_at    timestamptz NOT NULL
);
