-- Differences between pay orders and orders that an operator has looked into and lets stand. It holds for what both
-- sides said then: a difference that has changed since is counted, and repaired, again.
CREATE TABLE acknowledged_differences (
    merchant_id      text NOT NULL,
    biz_order_no     bigint NOT NULL,
    kind             text NOT NULL,
    pay_says         text NOT NULL,
    trade_says       text NOT NULL,
    who              text NOT NULL CHECK (length(who) BETWEEN 1 AND 255),
    note             text NOT NULL CHECK (length(note) BETWEEN 1 AND 256),
    acknowledged_at  timestamptz NOT NULL,
    PRIMARY KEY (merchant_id, biz_order_no)
);
