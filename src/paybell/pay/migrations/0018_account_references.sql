-- What names an account no longer locks its row: a foreign key takes a share of that lock with each row it checks, so
-- that whoever held a merchant's account stopped all applications and payments to it. Accounts are never removed and
-- never become others, which is why a look is enough.

-- In the order in which payments take them, so that neither waits for the other for ever.
LOCK TABLE pay_orders, accounts, transfers, pending_postings IN ACCESS EXCLUSIVE MODE;

CREATE TRIGGER accounts_stay_what_they_are BEFORE UPDATE OF id, kind, owner_id, currency, created_at ON accounts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER accounts_are_not_emptied BEFORE TRUNCATE ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- One row after the other by the primary key, whatever the planner knows of the tables.
CREATE FUNCTION check_accounts_of_transfers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM written
               WHERE (SELECT id FROM accounts WHERE id = written.debit_account) IS NULL
                  OR (SELECT id FROM accounts WHERE id = written.credit_account) IS NULL) THEN
        RAISE EXCEPTION 'a transfer names an account that does not exist'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION check_accounts_of_postings() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM written WHERE (SELECT id FROM accounts WHERE id = written.account_id) IS NULL) THEN
        RAISE EXCEPTION 'a posting names an account that does not exist'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION check_accounts_of_pay_orders() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM written WHERE (SELECT id FROM accounts WHERE id = written.payee_account) IS NULL) THEN
        RAISE EXCEPTION 'a pay order names an account that does not exist'
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER transfers_name_accounts AFTER INSERT ON transfers
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION check_accounts_of_transfers();
CREATE TRIGGER postings_name_accounts AFTER INSERT ON pending_postings
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION check_accounts_of_postings();
CREATE TRIGGER pay_orders_name_accounts AFTER INSERT ON pay_orders
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION check_accounts_of_pay_orders();

-- What a pay order is about is fixed when it is applied for.
CREATE TRIGGER pay_orders_stay_what_they_are BEFORE UPDATE OF id, merchant_id, biz_order_no, payer_id, payee_account,
    amount, currency ON pay_orders
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

ALTER TABLE transfers DROP CONSTRAINT transfers_debit_account_fkey, DROP CONSTRAINT transfers_credit_account_fkey;
ALTER TABLE pending_postings DROP CONSTRAINT pending_postings_account_id_fkey;
ALTER TABLE pay_orders DROP CONSTRAINT pay_orders_payee_account_fkey;
