-- The rows there are: without keeping anybody from paying meanwhile.
ALTER TABLE accounts VALIDATE CONSTRAINT account_never_overdrawn;
