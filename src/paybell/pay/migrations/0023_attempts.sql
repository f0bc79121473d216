-- Money from elsewhere: what is tried at a channel is a row before anything is sent there, and final only by the
-- channel's certain word.

-- clearing: a channel's money, as far as it is ours; may be negative, because it stands for the world outside.
ALTER TYPE account_kind ADD VALUE 'clearing';
-- receipt: money that came twice or late, put aside. return: that money gone back. refund_failed: a refund that the
-- channel did not carry out, back at the merchant.
ALTER TYPE transfer_kind ADD VALUE 'receipt';
ALTER TYPE transfer_kind ADD VALUE 'return';
ALTER TYPE transfer_kind ADD VALUE 'refund_failed';

-- As text: a value cannot be used in the transaction that adds it. Checked for the rows there are by the next script.
ALTER TABLE accounts
    DROP CONSTRAINT account_never_overdrawn,
    ADD CONSTRAINT account_never_overdrawn
        CHECK (credits >= debits OR kind::text IN ('funding', 'clearing')) NOT VALID;

-- Orders for which money from elsewhere may come: nobody closes them, and while money may be moving nobody pays them.
-- Beside pay orders and not in them, so that the release before reads those as ever.
CREATE TABLE pay_order_holds (
    pay_order_id  bigint PRIMARY KEY,
    moves_money   boolean NOT NULL
);
-- Which channel an order was paid by, where it was not Paybell's own balance.
CREATE TABLE pay_order_channels (
    pay_order_id  bigint PRIMARY KEY REFERENCES pay_orders,
    channel       text NOT NULL CHECK (channel ~ '^[a-z][a-z0-9_]{0,31}$')
);
CREATE TRIGGER pay_order_channels_are_immutable BEFORE UPDATE OR DELETE ON pay_order_channels
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- kind: call (the call moves the money) or window (it lets the buyer move it).
CREATE TABLE attempts (
    id              bigint PRIMARY KEY CHECK (id > 0),
    pay_order_id    bigint NOT NULL REFERENCES pay_orders,
    channel         text NOT NULL CHECK (channel ~ '^[a-z][a-z0-9_]{0,31}$'),
    kind            text NOT NULL CHECK (kind IN ('call', 'window')),
    state           text NOT NULL CHECK (state IN ('PREPARED', 'SENT', 'OPEN', 'UNKNOWN', 'MANUAL',
                                                   'SUCCEEDED', 'REFUSED', 'CLOSED', 'LATE_SUCCESS')),
    amount          bigint NOT NULL CHECK (amount > 0),
    currency        text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    merchant        text NOT NULL CHECK (length(merchant) BETWEEN 1 AND 255),
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL CHECK (expires_at > created_at),
    changed_at      timestamptz NOT NULL,
    next_query_at   timestamptz,
    queries         integer NOT NULL CHECK (queries >= 0),
    reference       text NOT NULL CHECK (length(reference) <= 255),
    qr_code         text NOT NULL CHECK (length(qr_code) <= 2048),
    redirect_url    text NOT NULL CHECK (length(redirect_url) <= 8192),
    transaction_id  text CHECK (length(transaction_id) BETWEEN 1 AND 255),
    code            text NOT NULL CHECK (length(code) <= 255),
    detail          text NOT NULL CHECK (length(detail) <= 1024),
    traceparent     text NOT NULL,
    CONSTRAINT received_exactly_with_a_transaction
        CHECK ((state IN ('SUCCEEDED', 'LATE_SUCCESS')) = (transaction_id IS NOT NULL)),
    CONSTRAINT one_receipt_settles_one_attempt UNIQUE (channel, transaction_id),
    CONSTRAINT queried_exactly_while_in_doubt
        CHECK ((state IN ('PREPARED', 'SENT', 'OPEN', 'UNKNOWN')) = (next_query_at IS NOT NULL))
) WITH (fillfactor = 80);

-- One that may be moving money at a time, one window of each channel, one success.
CREATE UNIQUE INDEX one_live_debit_per_pay_order ON attempts (pay_order_id)
    WHERE kind = 'call' AND state IN ('PREPARED', 'SENT', 'OPEN', 'UNKNOWN', 'MANUAL');
CREATE UNIQUE INDEX one_live_attempt_per_channel ON attempts (pay_order_id, channel)
    WHERE state IN ('PREPARED', 'SENT', 'OPEN', 'UNKNOWN', 'MANUAL');
CREATE UNIQUE INDEX one_success_per_pay_order ON attempts (pay_order_id) WHERE state = 'SUCCEEDED';
CREATE INDEX attempts_by_pay_order ON attempts (pay_order_id, id);
CREATE INDEX attempts_in_doubt ON attempts (channel, next_query_at) WHERE next_query_at IS NOT NULL;
CREATE INDEX attempts_of_persons ON attempts (id) WHERE state = 'MANUAL';

-- What people have settled by hand: one asks, another confirms.
CREATE TABLE attempt_settlements (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attempt_id    bigint NOT NULL REFERENCES attempts,
    outcome       text NOT NULL CHECK (outcome IN ('paid', 'not_paid')),
    reference     text NOT NULL CHECK (length(reference) <= 255),
    note          text NOT NULL CHECK (length(note) BETWEEN 1 AND 256),
    asked_by      text NOT NULL CHECK (length(asked_by) BETWEEN 1 AND 255),
    asked_at      timestamptz NOT NULL,
    confirmed_by  text CHECK (length(confirmed_by) BETWEEN 1 AND 255),
    confirmed_at  timestamptz,
    withdrawn_at  timestamptz,
    CONSTRAINT two_people_settle CHECK (confirmed_by <> asked_by),
    CONSTRAINT confirmed_by_somebody CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL)),
    CONSTRAINT confirmed_or_withdrawn CHECK (confirmed_at IS NULL OR withdrawn_at IS NULL)
);
CREATE UNIQUE INDEX one_settlement_asked_per_attempt ON attempt_settlements (attempt_id)
    WHERE withdrawn_at IS NULL;

CREATE FUNCTION keep_attempt_settlements() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.confirmed_at IS NOT NULL OR OLD.withdrawn_at IS NOT NULL
       OR (NEW.id, NEW.attempt_id, NEW.outcome, NEW.reference, NEW.note, NEW.asked_by, NEW.asked_at)
          IS DISTINCT FROM
          (OLD.id, OLD.attempt_id, OLD.outcome, OLD.reference, OLD.note, OLD.asked_by, OLD.asked_at) THEN
        RAISE EXCEPTION 'what was settled by hand stays as it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER attempt_settlements_are_kept BEFORE UPDATE ON attempt_settlements
    FOR EACH ROW EXECUTE FUNCTION keep_attempt_settlements();
CREATE TRIGGER attempt_settlements_stay BEFORE DELETE ON attempt_settlements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The legal moves; and what an attempt is about is fixed when it is prepared. The code 'by_hand' needs its two people.
CREATE FUNCTION keep_attempts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.pay_order_id, NEW.channel, NEW.kind, NEW.amount, NEW.currency, NEW.merchant, NEW.created_at,
        NEW.expires_at) IS DISTINCT FROM
       (OLD.id, OLD.pay_order_id, OLD.channel, OLD.kind, OLD.amount, OLD.currency, OLD.merchant, OLD.created_at,
        OLD.expires_at) THEN
        RAISE EXCEPTION 'an attempt stays what it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (NEW.state <> OLD.state AND NOT CASE OLD.state
        WHEN 'PREPARED' THEN NEW.state IN ('SENT', 'REFUSED')
        WHEN 'SENT' THEN NEW.state <> 'PREPARED'
        WHEN 'OPEN' THEN NEW.state NOT IN ('PREPARED', 'SENT')
        WHEN 'UNKNOWN' THEN NEW.state NOT IN ('PREPARED', 'SENT')
        WHEN 'MANUAL' THEN NEW.state IN ('SUCCEEDED', 'REFUSED', 'CLOSED', 'LATE_SUCCESS')
        WHEN 'REFUSED' THEN NEW.state IN ('SUCCEEDED', 'LATE_SUCCESS')
        WHEN 'CLOSED' THEN NEW.state IN ('SUCCEEDED', 'LATE_SUCCESS')
        ELSE false END) THEN
        RAISE EXCEPTION 'an attempt that is % does not become %', OLD.state, NEW.state
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.code = 'by_hand' AND OLD.code <> 'by_hand' AND NOT EXISTS (
        SELECT FROM attempt_settlements
        WHERE attempt_id = NEW.id AND confirmed_at IS NOT NULL
          AND outcome = CASE WHEN NEW.state IN ('SUCCEEDED', 'LATE_SUCCESS') THEN 'paid' ELSE 'not_paid' END
    ) THEN
        RAISE EXCEPTION 'two people settle an attempt by hand' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER attempts_move_as_they_may BEFORE UPDATE ON attempts
    FOR EACH ROW EXECUTE FUNCTION keep_attempts();
CREATE TRIGGER attempts_are_kept BEFORE DELETE ON attempts FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER attempts_are_not_emptied BEFORE TRUNCATE ON attempts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Money on its way back through a channel: a refund (under its own id), or what came twice or late (under its
-- attempt's id, and without a refund). The channel knows it by this id.
CREATE TABLE channel_refunds (
    id              bigint PRIMARY KEY CHECK (id > 0),
    attempt_id      bigint NOT NULL REFERENCES attempts,
    refund_id       bigint UNIQUE REFERENCES refunds,
    amount          bigint NOT NULL CHECK (amount > 0),
    state           text NOT NULL CHECK (state IN ('PENDING', 'SUCCEEDED', 'FAILED')),
    created_at      timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL,
    next_try_at     timestamptz,
    tries           integer NOT NULL CHECK (tries >= 0),
    transaction_id  text NOT NULL CHECK (length(transaction_id) <= 255),
    code            text NOT NULL CHECK (length(code) <= 255),
    detail          text NOT NULL CHECK (length(detail) <= 1024),
    traceparent     text NOT NULL,
    CONSTRAINT of_a_refund_or_of_an_attempt CHECK (id = coalesce(refund_id, attempt_id)),
    CONSTRAINT tried_exactly_while_pending CHECK ((state = 'PENDING') = (next_try_at IS NOT NULL))
) WITH (fillfactor = 80);
CREATE INDEX channel_refunds_due ON channel_refunds (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX channel_refunds_by_attempt ON channel_refunds (attempt_id);

CREATE FUNCTION keep_channel_refunds() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state <> 'PENDING' OR (NEW.id, NEW.attempt_id, NEW.refund_id, NEW.amount, NEW.created_at) IS DISTINCT FROM
                                 (OLD.id, OLD.attempt_id, OLD.refund_id, OLD.amount, OLD.created_at) THEN
        RAISE EXCEPTION 'a refund that is decided stays as it is' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER channel_refunds_are_decided_once BEFORE UPDATE ON channel_refunds
    FOR EACH ROW EXECUTE FUNCTION keep_channel_refunds();
CREATE TRIGGER channel_refunds_are_kept BEFORE DELETE ON channel_refunds
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Notices that were taken: a channel sends each again until it is answered, and strangers replay them.
CREATE TABLE channel_notices (
    channel      text NOT NULL,
    notice_id    text NOT NULL CHECK (length(notice_id) BETWEEN 1 AND 255),
    attempt_id   bigint,
    received_at  timestamptz NOT NULL,
    PRIMARY KEY (channel, notice_id)
);
