-- Money that goes back from the merchant's account to the payer's wallet, in one piece or several.
ALTER TYPE transfer_kind ADD VALUE 'refund';

ALTER TABLE pay_orders
    ADD COLUMN refunded_amount bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT never_refunded_above_what_was_paid CHECK (refunded_amount BETWEEN 0 AND amount),
    ADD CONSTRAINT refunded_only_when_paid CHECK (refunded_amount = 0 OR status = 3);

-- The number is the caller's, and its own for ever: longer than an idempotency key is kept.
CREATE TABLE refunds (
    id            bigint PRIMARY KEY CHECK (id > 0),
    pay_order_id  bigint NOT NULL REFERENCES pay_orders,
    number        text NOT NULL CHECK (length(number) BETWEEN 1 AND 255),
    amount        bigint NOT NULL CHECK (amount > 0),
    reason        text NOT NULL CHECK (length(reason) <= 256),
    created_at    timestamptz NOT NULL,
    CONSTRAINT refund_number_once UNIQUE (pay_order_id, number)
);

CREATE TRIGGER refunds_are_immutable BEFORE UPDATE OR DELETE ON refunds
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
