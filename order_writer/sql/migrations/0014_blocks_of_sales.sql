-- The large tables in blocks of a thousand sales. A block is made when its first sale is written down:
-- opening a sale makes no table, and a statement that cannot name its sale looks into a few blocks. Keys begin
-- with the sale, as a reservation's id does: a sale's rows lie together, and a settled sale's pages are
-- not touched again. 0015 moves what there is, sale by sale.

ALTER TABLE sales ADD COLUMN block integer
    GENERATED ALWAYS AS ((ledger_number / 1000)::integer) STORED;

DROP VIEW order_events;
CREATE SCHEMA before_0014;
ALTER TABLE order_lines SET SCHEMA before_0014;
ALTER TABLE reservations SET SCHEMA before_0014;
ALTER TABLE ledger_events SET SCHEMA before_0014;
DROP TRIGGER watermarks_partitions ON watermarks;
DROP FUNCTION add_partitions_of_watermark();
DROP FUNCTION add_sale_partitions(text);

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
    block            integer NOT NULL,             -- sales.block
    PRIMARY KEY (sale_id, partition, epoch, sequence, block)
) PARTITION BY LIST (block);
CREATE INDEX ledger_events_by_reservation ON ledger_events (reservation_id);
-- Few events move stock besides those of orders; the accounting reads just these.
CREATE INDEX ledger_events_by_operators ON ledger_events (sale_id, type)
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
    block             integer NOT NULL,               -- sales.block
    PRIMARY KEY (reservation_id, block),
    UNIQUE (sale_id, partition, accepted_epoch, accepted_sequence, block),
    CHECK ((state = 'confirmed') = (payment_reference IS NOT NULL))
) PARTITION BY LIST (block);
CREATE INDEX reservations_by_buyer ON reservations (buyer_id, sale_id);
-- An admission leads to one reservation.
CREATE UNIQUE INDEX admission_spent_once ON reservations (buyer_id, admission, sale_id, block)
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
    block            integer NOT NULL,                                  -- sales.block
    PRIMARY KEY (sale_id, reservation_id, sku, location, block)
) PARTITION BY LIST (block);

-- The rules of 0008, on the new tables.
CREATE TRIGGER ledger_events_append_only BEFORE UPDATE ON ledger_events
    FOR EACH ROW WHEN (OLD.type <> 'void') EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_events_kept BEFORE DELETE ON ledger_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER reservations_kept BEFORE DELETE ON reservations
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER order_line_immutable BEFORE UPDATE ON order_lines
    FOR EACH ROW WHEN (
        (NEW.reservation_id, NEW.sale_id, NEW.sku, NEW.location, NEW.quantity, NEW.unit_price)
            IS DISTINCT FROM
        (OLD.reservation_id, OLD.sale_id, OLD.sku, OLD.location, OLD.quantity, OLD.unit_price)
        OR OLD.confirmed > 0 AND NEW.confirmed <> OLD.confirmed
        OR NEW.returned < OLD.returned
    ) EXECUTE FUNCTION refuse_changed_line();
CREATE OR REPLACE FUNCTION refuse_orphaned_line() RETURNS trigger LANGUAGE plpgsql
    SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS $$
DECLARE
    orphan text;
BEGIN
    SELECT l.reservation_id INTO orphan
    FROM new_lines l
    WHERE NOT EXISTS (SELECT FROM reservations r
                      WHERE (r.reservation_id, r.block) = (l.reservation_id, l.block))
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
           ELSE '{}' END AS detail,
       block
FROM ledger_events
WHERE reservation_id IS NOT NULL
  AND type IN ('reserve', 'confirm', 'cancel', 'expire', 'extend', 'return_units');

-- Where a sale's rows are, for the planner: with these, a statement is planned for one block. They may
-- be called immutable because a sale's block never changes; of an unknown sale there are no rows.
CREATE FUNCTION block_of(sale text) RETURNS integer LANGUAGE sql IMMUTABLE STRICT
    RETURN (SELECT s.block FROM sales s WHERE s.sale_id = sale);
CREATE FUNCTION blocks_of(reservation_ids text[]) RETURNS integer[] LANGUAGE sql IMMUTABLE STRICT
    RETURN ARRAY(SELECT DISTINCT s.block FROM sales s
                 WHERE s.sale_id = ANY(sales_of(reservation_ids)));

-- One block's tables. Attached and not made in place: that would lock out everybody else's sale.
CREATE FUNCTION add_block(number integer) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    own text;
BEGIN
    PERFORM pg_advisory_xact_lock(7236421750412);  -- of two that need the block, one makes it
    FOREACH parent IN ARRAY ARRAY['ledger_events', 'reservations', 'order_lines'] LOOP
        own := format('%s_block_%s', parent, number);
        CONTINUE WHEN to_regclass(own) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', own, parent);
        -- A block of many sales is looked at by the number of its new rows, not by its share of them.
        EXECUTE format('ALTER TABLE %I SET (autovacuum_analyze_scale_factor = 0.01, '
                       'autovacuum_vacuum_scale_factor = 0.02, '
                       'autovacuum_vacuum_insert_scale_factor = 0.05)', own);
        IF parent <> 'ledger_events' THEN          -- room for a resolution on the hold's own page
            EXECUTE format('ALTER TABLE %I SET (fillfactor = 80)', own);
        END IF;
        EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES IN (%s)', parent, own, number);
    END LOOP;
END $$;

-- A block comes with the first sale that is written down in it. By whoever writes it down: nobody else
-- needs the right to make tables.
CREATE FUNCTION add_block_of_sale() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF to_regclass(format('order_lines_block_%s', NEW.block)) IS NULL THEN
        PERFORM add_block(NEW.block);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER sales_block AFTER INSERT ON sales
    FOR EACH ROW EXECUTE FUNCTION add_block_of_sale();
SELECT add_block(block) FROM (SELECT DISTINCT block FROM sales) AS known;
