-- The large tables in one partition per sale, so that a settled sale is archived by detaching its
-- three. Keys begin with what tells rows of one sale apart: comparing them is what inserting costs.

SET LOCAL statement_timeout = 0;                   -- a large ledger is copied once

CREATE SCHEMA before_0008;
ALTER TABLE order_events SET SCHEMA before_0008;
ALTER TABLE order_lines SET SCHEMA before_0008;
ALTER TABLE reservations SET SCHEMA before_0008;
ALTER TABLE ledger_events SET SCHEMA before_0008;

-- Names the sale's partitions: a sale id may be longer than a table's name.
ALTER TABLE sales ADD COLUMN ledger_number bigint GENERATED ALWAYS AS IDENTITY;

CREATE TABLE ledger_events (
    sale_id          text NOT NULL,
    partition        integer NOT NULL,
    epoch            integer NOT NULL,
    sequence         bigint NOT NULL,
    type             text NOT NULL,                -- 'void' where a dead letter holds the number
    reservation_id   text,
    occurred_at      timestamptz,                  -- null where void
    fingerprint      bytea NOT NULL,               -- BLAKE2b-64 of the event's bytes
    payload          json NOT NULL,                -- the event's bytes as they were
    PRIMARY KEY (partition, epoch, sequence, sale_id)
) PARTITION BY LIST (sale_id);
CREATE INDEX ledger_events_by_reservation ON ledger_events (reservation_id);
-- Few events move stock besides those of orders; the accounting reads just these.
CREATE INDEX ledger_events_by_operators ON ledger_events (type)
    WHERE type IN ('adjust', 'return_units');

CREATE TABLE reservations (
    reservation_id    text NOT NULL,
    sale_id           text NOT NULL,
    partition         integer NOT NULL,
    buyer_id          text NOT NULL,
    state             text NOT NULL CHECK (state IN ('held', 'confirmed', 'cancelled', 'expired')),
    fingerprint       text NOT NULL,
    deadline          timestamptz NOT NULL,
    extended_ms       bigint NOT NULL DEFAULT 0,
    payment_reference text,
    accepted_epoch    integer NOT NULL,
    accepted_sequence bigint NOT NULL,
    last_epoch        integer NOT NULL,
    last_sequence     bigint NOT NULL,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    admission         bigint CHECK (admission >= 1),  -- of the waiting room, spent on this
    PRIMARY KEY (reservation_id, sale_id),
    UNIQUE (partition, accepted_epoch, accepted_sequence, sale_id),
    CHECK ((state = 'confirmed') = (payment_reference IS NOT NULL))
) PARTITION BY LIST (sale_id);
CREATE INDEX reservations_by_buyer ON reservations (buyer_id);
-- An admission leads to one reservation.
CREATE UNIQUE INDEX admission_spent_once ON reservations (buyer_id, admission, sale_id)
    WHERE admission IS NOT NULL;

CREATE TABLE order_lines (
    reservation_id   text NOT NULL,
    sale_id          text NOT NULL,
    sku              text NOT NULL,
    location         text NOT NULL,
    quantity         integer NOT NULL CHECK (quantity >= 1),            -- as reserved
    confirmed        integer NOT NULL DEFAULT 0 CHECK (confirmed BETWEEN 0 AND quantity),
    returned         integer NOT NULL DEFAULT 0 CHECK (returned BETWEEN 0 AND confirmed),
    unit_price       bigint NOT NULL CHECK (unit_price >= 0),           -- at purchase
    PRIMARY KEY (reservation_id, sku, location, sale_id)
) PARTITION BY LIST (sale_id);

-- Whatever happened stays; only a void number may still become the event it was held for.
CREATE TRIGGER ledger_events_append_only BEFORE UPDATE ON ledger_events
    FOR EACH ROW WHEN (OLD.type <> 'void') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_events_kept BEFORE DELETE ON ledger_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reservations_kept BEFORE DELETE ON reservations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- The condition is the rule; the function is only called to refuse.
DROP FUNCTION refuse_changed_line CASCADE;
CREATE FUNCTION refuse_changed_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'an order line never changes'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'order_line_immutable';
END $$;
CREATE TRIGGER order_line_immutable BEFORE UPDATE ON order_lines
    FOR EACH ROW WHEN (
        (NEW.reservation_id, NEW.sale_id, NEW.sku, NEW.location, NEW.quantity, NEW.unit_price)
            IS DISTINCT FROM
        (OLD.reservation_id, OLD.sale_id, OLD.sku, OLD.location, OLD.quantity, OLD.unit_price)
        OR OLD.confirmed > 0 AND NEW.confirmed <> OLD.confirmed
        OR NEW.returned < OLD.returned
    ) EXECUTE FUNCTION refuse_changed_line();

-- A foreign key would ask for each line alone, and lock its reservation; this asks once a statement.
-- By index whatever the plan was made for: a sale begins empty and grows by the thousand.
CREATE FUNCTION refuse_orphaned_line() RETURNS trigger LANGUAGE plpgsql
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    orphan text;
BEGIN
    SELECT l.reservation_id INTO orphan
    FROM new_lines l
    WHERE NOT EXISTS (SELECT FROM reservations r
                      WHERE (r.reservation_id, r.sale_id) = (l.reservation_id, l.sale_id))
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% has a line and is no reservation', orphan
            USING ERRCODE = 'foreign_key_violation', CONSTRAINT = 'order_line_of_reservation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER order_line_of_reservation AFTER INSERT ON order_lines
    REFERENCING NEW TABLE AS new_lines
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_orphaned_line();

-- What happened to an order, in order; its status is derived from these.
CREATE VIEW order_events AS
SELECT sale_id, reservation_id, epoch, sequence,
       CASE type WHEN 'reserve' THEN 'PENDING' WHEN 'confirm' THEN 'CONFIRMED'
                 WHEN 'cancel' THEN 'CANCELLED' WHEN 'expire' THEN 'EXPIRED'
                 WHEN 'extend' THEN 'EXTENDED' ELSE 'RETURNED' END AS status,
       occurred_at,
       CASE type
           WHEN 'confirm' THEN json_build_object(
               'payment_reference', payload -> 'payment_reference', 'lines', payload -> 'lines',
               'released', payload -> 'released')
           WHEN 'cancel' THEN json_build_object('actor', payload -> 'actor')
           WHEN 'extend' THEN json_build_object(
               'deadline', payload -> 'deadline', 'extended_ms', payload -> 'extended_ms')
           WHEN 'return_units' THEN json_build_object(
               'lines', payload -> 'lines', 'restock', payload -> 'restock',
               'reason', payload -> 'reason', 'return_key', payload -> 'return_key')
           ELSE '{}' END AS detail
FROM ledger_events
WHERE reservation_id IS NOT NULL
  AND type IN ('reserve', 'confirm', 'cancel', 'expire', 'extend', 'return_units');

-- The sales that reservations are of, which their ids begin with: tells the planner where to look.
CREATE FUNCTION sales_of(reservation_ids text[]) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT
    RETURN ARRAY(SELECT DISTINCT split_part(id, '.', 1) FROM unnest(reservation_ids) AS id);

-- A sale's partitions. Attached and not made in place: that would lock out everybody else's sale.
CREATE FUNCTION add_sale_partitions(sale text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    own text;
BEGIN
    FOREACH parent IN ARRAY ARRAY['ledger_events', 'reservations', 'order_lines'] LOOP
        own := parent || '_' || (SELECT ledger_number FROM sales WHERE sale_id = sale);
        CONTINUE WHEN to_regclass(own) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', own, parent);
        IF parent <> 'ledger_events' THEN          -- room for a resolution on the hold's own page
            EXECUTE format('ALTER TABLE %I SET (fillfactor = 80)', own);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%L)', parent, own, sale);
    END LOOP;
END $$;

-- They come with the sale's first watermark, in the transaction that opens it. By whoever opens it:
-- nobody else needs the right to make tables.
CREATE FUNCTION add_partitions_of_watermark() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM add_sale_partitions(NEW.sale_id);
    RETURN NULL;
END $$;
CREATE TRIGGER watermarks_partitions AFTER INSERT ON watermarks
    FOR EACH ROW EXECUTE FUNCTION add_partitions_of_watermark();

-- What there is already moves into partitions of its own.
SELECT add_sale_partitions(sale_id) FROM (SELECT DISTINCT sale_id FROM watermarks) AS opened;
INSERT INTO ledger_events
SELECT sale_id, partition, epoch, sequence, type, reservation_id,
       CASE WHEN type <> 'void' THEN occurred_at END, fingerprint, payload::json
FROM before_0008.ledger_events;
INSERT INTO reservations SELECT * FROM before_0008.reservations;
INSERT INTO order_lines
SELECT l.reservation_id, r.sale_id, l.sku, l.location, l.quantity, l.confirmed, l.returned,
       l.unit_price
FROM before_0008.order_lines l JOIN before_0008.reservations r USING (reservation_id);
DROP SCHEMA before_0008 CASCADE;
