-- Wallets, ledger, pay orders and the outbox: one database, because a payment is one transaction.

-- A node number for each process, part of the ids it makes.
CREATE SEQUENCE node_numbers MINVALUE 0 MAXVALUE 1023 CYCLE;

-- A history that can be edited is none.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

-- Accounts ------------------------------------------------------------------------------------

-- wallet: a user's money. merchant: what a shop has earned. funding: where top-ups come from,
-- the only kind that may be negative, because it stands for the world outside.
CREATE TYPE account_kind AS ENUM ('wallet', 'merchant', 'funding');

-- debits and credits only grow; the balance is credits - debits, in minor units. Wallets are
-- updated in place, the others through pending_postings. The fill factor leaves room for
-- updates inside the page.
CREATE TABLE accounts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind        account_kind NOT NULL,
    owner_id    text NOT NULL CHECK (length(owner_id) BETWEEN 1 AND 64),
    currency    text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    debits      bigint NOT NULL DEFAULT 0 CHECK (debits >= 0),
    credits     bigint NOT NULL DEFAULT 0 CHECK (credits >= 0),
    created_at  timestamptz NOT NULL,
    CONSTRAINT one_account_per_owner_and_currency UNIQUE (owner_id, currency, kind),
    CONSTRAINT account_never_overdrawn CHECK (kind = 'funding' OR credits >= debits)
) WITH (fillfactor = 70);

CREATE TRIGGER accounts_are_kept BEFORE DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The pay password of a wallet: its MAC, never itself. The sixth try in a row is not looked at.
CREATE TABLE wallets (
    account_id    bigint PRIMARY KEY REFERENCES accounts,
    pay_password  text NOT NULL CHECK (length(pay_password) <= 255),
    failed_tries  smallint NOT NULL DEFAULT 0 CHECK (failed_tries BETWEEN 0 AND 5),
    locked_until  timestamptz
);

-- Transfers -----------------------------------------------------------------------------------

CREATE TYPE transfer_kind AS ENUM ('top_up', 'payment');

-- One row is both sides of a movement, so that an imbalance cannot be written.
CREATE TABLE transfers (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind            transfer_kind NOT NULL,
    reference       text NOT NULL CHECK (length(reference) BETWEEN 1 AND 400),
    debit_account   bigint NOT NULL REFERENCES accounts,
    credit_account  bigint NOT NULL REFERENCES accounts,
    amount          bigint NOT NULL CHECK (amount > 0),
    created_at      timestamptz NOT NULL,
    CONSTRAINT transfer_once UNIQUE (reference, kind),
    CONSTRAINT transfer_between_two_accounts CHECK (debit_account <> credit_account)
);

CREATE TRIGGER transfers_are_immutable BEFORE UPDATE OR DELETE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_are_kept BEFORE TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- What transfers moved on merchant and funding accounts and is not yet folded into their rows:
-- appended once per batch, so that paying never waits for the lock of a popular account.
CREATE TABLE pending_postings (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id  bigint NOT NULL REFERENCES accounts,
    debits      bigint NOT NULL CHECK (debits >= 0),
    credits     bigint NOT NULL CHECK (credits >= 0)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Pay orders ----------------------------------------------------------------------------------

-- status: 0 NOT_COMMIT, 1 WAIT_BUYER_PAY, 2 TRADE_CLOSED, 3 TRADE_SUCCESS
CREATE TABLE pay_orders (
    id             bigint PRIMARY KEY CHECK (id > 0),
    merchant_id    text NOT NULL CHECK (length(merchant_id) BETWEEN 1 AND 64),
    biz_order_no   bigint NOT NULL CHECK (biz_order_no > 0),
    payer_id       text NOT NULL CHECK (length(payer_id) BETWEEN 1 AND 64),
    payee_account  bigint NOT NULL REFERENCES accounts,
    amount         bigint NOT NULL CHECK (amount > 0),
    currency       text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    subject        text NOT NULL CHECK (length(subject) <= 256),
    status         smallint NOT NULL CHECK (status BETWEEN 0 AND 3),
    version        integer NOT NULL CHECK (version > 0),
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    succeeded_at   timestamptz,
    closed_at      timestamptz,
    CONSTRAINT one_pay_order_per_biz_order UNIQUE (biz_order_no, merchant_id),
    CONSTRAINT succeeded_at_exactly_when_succeeded CHECK ((status = 3) = (succeeded_at IS NOT NULL)),
    CONSTRAINT closed_at_exactly_when_closed CHECK ((status = 2) = (closed_at IS NOT NULL)),
    CONSTRAINT expires_after_creation CHECK (expires_at > created_at)
) WITH (fillfactor = 80);

-- Idempotency keys ----------------------------------------------------------------------------

-- Written in the transaction of the work itself: a key without its effect cannot exist.
CREATE TABLE idempotency_keys (
    caller        text NOT NULL,
    route         text NOT NULL,
    key           text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request_hash  bytea NOT NULL,
    status        smallint NOT NULL,
    body          bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (caller, route, key)
);

-- Outbox --------------------------------------------------------------------------------------

-- Only what is still to be published: a row is deleted when its messages are confirmed. No
-- index on the lease, so that claiming updates rows inside their page. leased_until
-- without a token is when a returned or refused event may be tried again.
CREATE TABLE outbox (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id      text NOT NULL,
    type          text NOT NULL,
    subject       text NOT NULL,
    body          bytea NOT NULL,
    occurred_at   timestamptz NOT NULL,
    traceparent   text NOT NULL,
    lease_token   uuid,
    leased_until  timestamptz
) WITH (
    fillfactor = 60,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_vacuum_cost_delay = 0
);
