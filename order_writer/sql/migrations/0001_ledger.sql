-- The ledger: what the events of all partitions fold to. Invariants are constraints.

-- Events carry instants as milliseconds since 1970; this is the only place that turns them into time.
CREATE FUNCTION instant(milliseconds bigint) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT
    RETURN timestamptz '1970-01-01 00:00:00+00' + milliseconds * interval '1 millisecond';

CREATE TABLE sales (
    sale_id          text PRIMARY KEY CHECK (sale_id ~ '^[a-z0-9][a-z0-9-]{0,63}$'),
    state            text NOT NULL CHECK (state IN ('draft', 'scheduled', 'open', 'paused', 'closed', 'settled')),
    version          integer NOT NULL DEFAULT 1 CHECK (version >= 1),
    spec             jsonb NOT NULL,               -- the body of PUT /v1/sales/{sale}, defaults filled in
    partitions       integer NOT NULL CHECK (partitions BETWEEN 1 AND 1024),
    currency         text NOT NULL,
    opens_at         timestamptz,
    closes_at        timestamptz,
    hash_key         bytea NOT NULL CHECK (length(hash_key) = 32), -- of reservation ids; never rotated
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sale_items (
    sale_id          text NOT NULL REFERENCES sales ON DELETE CASCADE,
    sku              text NOT NULL,
    position         integer NOT NULL,
    name             text NOT NULL,
    price_amount     bigint NOT NULL CHECK (price_amount >= 0),
    per_buyer_limit  integer NOT NULL CHECK (per_buyer_limit >= 1),
    floor            integer NOT NULL,
    paused           boolean NOT NULL DEFAULT false,
    PRIMARY KEY (sale_id, sku),
    UNIQUE (sale_id, position)
);

-- One row per partition: how far its history is applied. `stopped` partitions apply nothing more
-- until a person has looked at `stopped_reason`.
CREATE TABLE watermarks (
    sale_id          text NOT NULL REFERENCES sales,
    partition        integer NOT NULL,
    epoch            integer NOT NULL CHECK (epoch >= 1),
    sequence         bigint NOT NULL CHECK (sequence >= 0),
    fingerprint      bytea,                        -- of the last event applied
    log_offsets      jsonb NOT NULL DEFAULT '{}',
    event_time       timestamptz,                  -- occurred_at of the last event applied
    alive_at         bigint NOT NULL DEFAULT 0,    -- ms: last time the partition's server was seen alive
    tail_epoch       integer NOT NULL DEFAULT 1,   -- where the outbox ended when last compared
    tail_sequence    bigint NOT NULL DEFAULT 0,
    stopped_reason   text,
    updated_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, partition)
);

CREATE TABLE closed_epochs (
    sale_id          text NOT NULL,
    partition        integer NOT NULL,
    epoch            integer NOT NULL,
    last_sequence    bigint NOT NULL,
    fingerprint      bytea,
    next_epoch       integer NOT NULL CHECK (next_epoch > epoch),
    closed_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, partition, epoch),
    FOREIGN KEY (sale_id, partition) REFERENCES watermarks
);

CREATE TABLE stock_accounts (
    sale_id          text NOT NULL,
    partition        integer NOT NULL,
    sku              text NOT NULL,
    location         text NOT NULL,
    position         integer NOT NULL,             -- order of preference within the sale
    floor            integer NOT NULL,             -- lowest `available` of this account alone
    loaded           bigint NOT NULL CHECK (loaded >= 0),
    adjusted         bigint NOT NULL DEFAULT 0,
    transferred      bigint NOT NULL DEFAULT 0,
    in_transit       bigint NOT NULL DEFAULT 0 CHECK (in_transit >= 0),
    available        bigint NOT NULL,
    held             bigint NOT NULL DEFAULT 0,
    sold             bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (sale_id, partition, sku, location),
    FOREIGN KEY (sale_id, sku) REFERENCES sale_items,
    CONSTRAINT stock_identity CHECK (loaded + adjusted + transferred = available + held + sold),
    CONSTRAINT stock_floor CHECK (available >= floor),
    CONSTRAINT stock_held CHECK (held >= 0),
    CONSTRAINT stock_sold CHECK (sold >= 0)
);

CREATE TABLE ledger_events (
    sale_id          text NOT NULL,
    partition        integer NOT NULL,
    epoch            integer NOT NULL,
    sequence         bigint NOT NULL,
    type             text NOT NULL,                -- 'void' where a dead letter holds the number
    reservation_id   text,
    occurred_at      timestamptz NOT NULL,
    fingerprint      bytea NOT NULL,               -- BLAKE2b-64 of the event's bytes
    payload          jsonb NOT NULL,
    PRIMARY KEY (sale_id, partition, epoch, sequence)
);

CREATE TABLE reservations (
    reservation_id    text PRIMARY KEY,
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
    UNIQUE (sale_id, partition, accepted_epoch, accepted_sequence),
    CHECK ((state = 'confirmed') = (payment_reference IS NOT NULL))
) WITH (fillfactor = 80);                          -- room for a hold's resolution on its own page
CREATE INDEX reservations_by_buyer ON reservations (buyer_id, created_at DESC, reservation_id DESC);

CREATE TABLE order_lines (
    reservation_id   text NOT NULL REFERENCES reservations,
    sku              text NOT NULL,
    location         text NOT NULL,
    quantity         integer NOT NULL CHECK (quantity >= 1),            -- as reserved
    confirmed        integer NOT NULL DEFAULT 0 CHECK (confirmed BETWEEN 0 AND quantity),
    returned         integer NOT NULL DEFAULT 0 CHECK (returned BETWEEN 0 AND confirmed),
    unit_price       bigint NOT NULL CHECK (unit_price >= 0),           -- at purchase
    PRIMARY KEY (reservation_id, sku, location)
);

CREATE FUNCTION refuse_changed_line() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.reservation_id, NEW.sku, NEW.location, NEW.quantity, NEW.unit_price)
       IS DISTINCT FROM (OLD.reservation_id, OLD.sku, OLD.location, OLD.quantity, OLD.unit_price)
       OR (OLD.confirmed > 0 AND NEW.confirmed <> OLD.confirmed)
       OR NEW.returned < OLD.returned THEN
        RAISE EXCEPTION 'an order line never changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'order_line_immutable';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER order_line_immutable BEFORE UPDATE ON order_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_changed_line();

-- What happened to an order, in order; its status is derived from these. No foreign key: each row is
-- written beside the counted insert or change of its reservation, and the check would cost a sixth of
-- the writer's speed.
CREATE TABLE order_events (
    reservation_id   text NOT NULL,
    epoch            integer NOT NULL,
    sequence         bigint NOT NULL,
    status           text NOT NULL CHECK (status IN
        ('PENDING', 'CONFIRMED', 'CANCELLED', 'EXPIRED', 'EXTENDED', 'RETURNED')),
    occurred_at      timestamptz NOT NULL,
    detail           jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (reservation_id, epoch, sequence)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER order_events_append_only BEFORE UPDATE OR DELETE ON order_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Work one process asks of the reconciler: a row, then NOTIFY reconciler.
CREATE TABLE reconciliations (
    reconciliation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id          text NOT NULL REFERENCES sales,
    apply            boolean NOT NULL DEFAULT false,
    requested_by     text NOT NULL,
    status           text NOT NULL DEFAULT 'requested' CHECK (status IN ('requested', 'running', 'done', 'failed')),
    balanced         boolean,
    failure          text,                         -- a problem code, e.g. ledger_behind, recovering
    watermarks       jsonb NOT NULL DEFAULT '[]',  -- [{partition, epoch, sequence}] compared at
    requested_at     timestamptz NOT NULL DEFAULT now(),
    finished_at      timestamptz,
    CHECK (status <> 'done' OR balanced IS NOT NULL),
    CHECK (status <> 'failed' OR failure IS NOT NULL)
);
CREATE INDEX reconciliations_by_sale ON reconciliations (sale_id, reconciliation_id DESC);

CREATE TABLE reconciliation_differences (
    reconciliation_id bigint NOT NULL REFERENCES reconciliations,
    number           integer NOT NULL,
    partition        integer NOT NULL,
    kind             text NOT NULL CHECK (kind IN
        ('counter', 'hold_missing', 'hold_leaked', 'resolved_twice', 'limit_count', 'unapplied', 'void')),
    sku              text,
    location         text,
    reservation_id   text,
    buyer_id         text,
    field            text,
    redis_value      text,
    ledger_value     text,
    repaired         boolean NOT NULL DEFAULT false,
    PRIMARY KEY (reconciliation_id, number)
);

-- Events set aside. One with a number holds it in ledger_events as a void row, so that its partition
-- goes on; later events of its reservation wait behind it (`waits_behind`) until it is replayed.
CREATE TABLE dead_letters (
    dead_letter_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    identity         text NOT NULL UNIQUE,         -- the same copy delivered again is one letter
    sale_id          text,
    partition        integer,
    epoch            integer,
    sequence         bigint,
    reservation_id   text,                         -- where it could be read
    reason           text NOT NULL CHECK (reason IN
        ('undecodable', 'refused', 'waits_behind', 'fenced', 'unnumbered', 'unknown_partition')),
    error            text NOT NULL,
    raw              bytea NOT NULL,
    source           jsonb NOT NULL DEFAULT '{}',
    status           text NOT NULL DEFAULT 'dead' CHECK (status IN ('dead', 'replay_requested', 'replayed', 'dismissed')),
    created_at       timestamptz NOT NULL DEFAULT now(),
    resolved_at      timestamptz,
    CHECK ((status IN ('replayed', 'dismissed')) = (resolved_at IS NOT NULL))
);
CREATE INDEX dead_letters_open ON dead_letters (sale_id, partition, epoch, sequence)
    WHERE status IN ('dead', 'replay_requested');
CREATE INDEX dead_letters_replay ON dead_letters (dead_letter_id) WHERE status = 'replay_requested';

CREATE TABLE audit_log (
    audit_id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sale_id          text,
    actor            text NOT NULL,
    action           text NOT NULL,
    detail           jsonb NOT NULL DEFAULT '{}',
    request_id       text,
    occurred_at      timestamptz NOT NULL DEFAULT now()
);
