-- What the last comparison found both sides to differ in, as far as there is a pay order: what operators list.
CREATE TABLE found_differences (
    merchant_id   text NOT NULL,
    biz_order_no  bigint NOT NULL,
    pay_order_id  bigint NOT NULL,
    kind          text NOT NULL,
    PRIMARY KEY (merchant_id, biz_order_no)
);
