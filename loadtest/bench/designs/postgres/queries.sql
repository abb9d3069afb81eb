-- The statements of the reference designs that keep their stock in Postgres.

-- name: create_database
CREATE DATABASE bench;

-- name: create_tables
CREATE TABLE IF NOT EXISTS stock (
    sku              text PRIMARY KEY,
    available        integer NOT NULL,
    version          bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);                          -- room for updates of the hot row on its page
CREATE TABLE IF NOT EXISTS reservations (
    reservation_id   text PRIMARY KEY,
    buyer_id         text NOT NULL,
    idempotency_key  text NOT NULL,
    sku              text NOT NULL,
    quantity         integer NOT NULL CHECK (quantity >= 1),
    deadline         timestamptz NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (buyer_id, idempotency_key)             -- also finds a buyer's reservations
);
CREATE TABLE IF NOT EXISTS units (
    unit_id          integer PRIMARY KEY,
    sku              text NOT NULL,
    reservation_id   text
);
CREATE INDEX IF NOT EXISTS free_units ON units (sku, unit_id) WHERE reservation_id IS NULL;

-- name: clear
TRUNCATE stock, reservations, units;

-- name: load_stock
INSERT INTO stock (sku, available) VALUES ($1, $2);

-- name: load_units
INSERT INTO units (unit_id, sku) SELECT n, $1 FROM generate_series(1, $2::integer) AS n;

-- name: audit_stock
SELECT (SELECT available FROM stock WHERE sku = $1) AS remaining,
       coalesce(sum(quantity), 0)::bigint AS promised,
       count(*) AS reservations,
       count(DISTINCT (buyer_id, idempotency_key)) AS distinct_keys
FROM reservations WHERE sku = $1;

-- name: audit_units
SELECT (SELECT count(*) FROM units WHERE sku = $1 AND reservation_id IS NULL) AS remaining,
       coalesce(sum(quantity), 0)::bigint AS promised,
       count(*) AS reservations,
       count(DISTINCT (buyer_id, idempotency_key)) AS distinct_keys
FROM reservations WHERE sku = $1;

-- name: known
SELECT reservation_id FROM reservations WHERE buyer_id = $1 AND idempotency_key = $2;

-- name: units_of_buyer
SELECT coalesce(sum(quantity), 0)::bigint FROM reservations WHERE buyer_id = $1 AND sku = $2;

-- name: take_conditionally
-- $1 reservation  $2 buyer  $3 key  $4 sku  $5 quantity  $6 limit  $7 hold, seconds
WITH known AS (
    SELECT reservation_id FROM reservations WHERE buyer_id = $2 AND idempotency_key = $3
), owned AS (
    SELECT coalesce(sum(quantity), 0) AS units FROM reservations WHERE buyer_id = $2 AND sku = $4
), taken AS (
    UPDATE stock SET available = available - $5
    WHERE sku = $4 AND available >= $5 AND NOT EXISTS (SELECT FROM known)
      AND (SELECT units FROM owned) + $5 <= $6
    RETURNING sku
), made AS (
    INSERT INTO reservations (reservation_id, buyer_id, idempotency_key, sku, quantity, deadline)
    SELECT $1, $2, $3, $4, $5, now() + $7 * interval '1 second' FROM taken
    RETURNING reservation_id
)
SELECT (SELECT reservation_id FROM known) AS known, (SELECT reservation_id FROM made) AS made,
       (SELECT units FROM owned)::bigint AS owned;

-- name: lock_stock
SELECT available FROM stock WHERE sku = $1 FOR UPDATE;

-- name: read_stock
SELECT available, version FROM stock WHERE sku = $1;

-- name: write_stock
UPDATE stock SET available = $2 WHERE sku = $1;

-- name: insert_reservation
-- $1 reservation  $2 buyer  $3 key  $4 sku  $5 quantity  $6 hold, seconds
INSERT INTO reservations (reservation_id, buyer_id, idempotency_key, sku, quantity, deadline)
VALUES ($1, $2, $3, $4, $5, now() + $6 * interval '1 second');

-- name: read_all
-- What an optimistic writer decides on, in one round trip.
SELECT available, version,
       (SELECT reservation_id FROM reservations
        WHERE buyer_id = $2 AND idempotency_key = $3) AS known,
       (SELECT coalesce(sum(quantity), 0) FROM reservations
        WHERE buyer_id = $2 AND sku = $1)::bigint AS owned
FROM stock WHERE sku = $1;

-- name: take_at_version
-- $1 reservation  $2 buyer  $3 key  $4 sku  $5 quantity  $6 hold, seconds  $7 version read
WITH taken AS (
    UPDATE stock SET available = available - $5, version = version + 1
    WHERE sku = $4 AND version = $7
    RETURNING sku
)
INSERT INTO reservations (reservation_id, buyer_id, idempotency_key, sku, quantity, deadline)
SELECT $1, $2, $3, $4, $5, now() + $6 * interval '1 second' FROM taken
RETURNING reservation_id;

-- name: take_units
-- $1 reservation  $2 buyer  $3 key  $4 sku  $5 quantity  $6 limit  $7 hold, seconds
-- All or none: where fewer free units were found, none is written.
WITH known AS (
    SELECT reservation_id FROM reservations WHERE buyer_id = $2 AND idempotency_key = $3
), owned AS (
    SELECT coalesce(sum(quantity), 0) AS units FROM reservations WHERE buyer_id = $2 AND sku = $4
), found AS MATERIALIZED (
    SELECT unit_id FROM units
    WHERE sku = $4 AND reservation_id IS NULL AND NOT EXISTS (SELECT FROM known)
      AND (SELECT units FROM owned) + $5 <= $6
    LIMIT $5 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE units SET reservation_id = $1 FROM found
    WHERE units.unit_id = found.unit_id AND (SELECT count(*) FROM found) = $5
    RETURNING units.unit_id
), made AS (
    INSERT INTO reservations (reservation_id, buyer_id, idempotency_key, sku, quantity, deadline)
    SELECT $1, $2, $3, $4, $5, now() + $7 * interval '1 second'
    WHERE (SELECT count(*) FROM taken) = $5
    RETURNING reservation_id
)
SELECT (SELECT reservation_id FROM known) AS known, (SELECT reservation_id FROM made) AS made,
       (SELECT units FROM owned)::bigint AS owned;

-- name: one_at_a_time
SELECT pg_advisory_xact_lock(4711);

-- name: analyze_units
ANALYZE units;
