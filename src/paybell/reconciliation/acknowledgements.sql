-- name: find_acknowledged
SELECT biz_order_no, kind, pay_says, trade_says
FROM acknowledged_differences
WHERE merchant_id = $1 AND biz_order_no = ANY($2::bigint[]);

-- name: acknowledge
-- Written anew for what differs in another way than when it was acknowledged before.
INSERT INTO acknowledged_differences (merchant_id, biz_order_no, kind, pay_says, trade_says, who, note, acknowledged_at)
SELECT $1, differing.*, $6, $7, $8
FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[]) AS differing
ON CONFLICT (merchant_id, biz_order_no) DO UPDATE
SET kind = EXCLUDED.kind, pay_says = EXCLUDED.pay_says, trade_says = EXCLUDED.trade_says, who = EXCLUDED.who,
    note = EXCLUDED.note, acknowledged_at = EXCLUDED.acknowledged_at;

-- name: withdraw
DELETE FROM acknowledged_differences WHERE merchant_id = $1 AND biz_order_no = ANY($2::bigint[]) RETURNING biz_order_no;
