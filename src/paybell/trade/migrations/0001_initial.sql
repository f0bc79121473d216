-- The order service: orders, and what it heard by message.

CREATE SEQUENCE node_numbers MINVALUE 0 MAXVALUE 1023 CYCLE;

-- version is the highest version of the pay order this order has heard of.
CREATE TABLE orders (
    id            bigint PRIMARY KEY CHECK (id > 0),
    buyer_id      text NOT NULL CHECK (length(buyer_id) BETWEEN 1 AND 64),
    total_fee     bigint NOT NULL CHECK (total_fee > 0),
    currency      text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    subject       text NOT NULL CHECK (length(subject) <= 256),
    status        text NOT NULL CHECK (status IN ('UNPAID', 'PAID', 'CANCELLED', 'REFUNDED')),
    pay_order_id  bigint,
    created_at    timestamptz NOT NULL,
    paid_at       timestamptz,
    cancelled_at  timestamptz,
    CONSTRAINT paid_at_when_paid CHECK (status <> 'PAID' OR paid_at IS NOT NULL),
    CONSTRAINT never_paid_while_unpaid CHECK (status <> 'UNPAID' OR paid_at IS NULL),
    CONSTRAINT cancelled_at_exactly_when_cancelled CHECK ((status = 'CANCELLED') = (cancelled_at IS NOT NULL))
) WITH (fillfactor = 80);
