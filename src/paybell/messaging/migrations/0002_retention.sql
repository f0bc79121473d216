-- What is removed when it is old; a few pages, because rows come in the order of time.
CREATE INDEX inbox_by_age ON inbox USING brin (received_at);
