-- Below this id the outbox holds nothing and never will; claiming begins here. One row.
CREATE TABLE outbox_floor (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    id   bigint NOT NULL
);
INSERT INTO outbox_floor (id) VALUES (0);
