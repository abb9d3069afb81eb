-- A ledger that came back older than Redis, where neither the outbox nor the event log has what is
-- missing, is brought up to date from Redis' own records. What the records say of the missing numbers is
-- kept here beside the events: they are known only in sum.

-- One row per import. The numbers after (after_epoch, after_sequence) up to (epoch, sequence) have no events;
-- the last of them has the row of type `import` in ledger_events.
CREATE TABLE ledger_imports (
    sale_id          text NOT NULL REFERENCES sales,
    partition        integer NOT NULL,
    epoch            integer NOT NULL,
    sequence         bigint NOT NULL,
    after_epoch      integer NOT NULL,             -- where the ledger had stopped
    after_sequence   bigint NOT NULL,
    until_epoch      integer NOT NULL,             -- the watermark that the import led to
    until_sequence   bigint NOT NULL,
    reservations     bigint NOT NULL,              -- that were missing, or had changed
    unreadable       bigint NOT NULL,              -- records that no script could have written
    adjustments      jsonb NOT NULL,               -- keys of adjustments: [key:fingerprint, sequence, ms, ...]
    read_at          timestamptz NOT NULL,         -- on Redis' clock
    imported_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, partition, epoch, sequence),
    CHECK ((after_epoch, after_sequence) < (epoch, sequence)),
    CHECK ((epoch, sequence) <= (until_epoch, until_sequence))
);

-- What happened to an account within the missing numbers, all events together.
CREATE TABLE ledger_import_accounts (
    sale_id          text NOT NULL,
    partition        integer NOT NULL,
    epoch            integer NOT NULL,
    sequence         bigint NOT NULL,
    sku              text NOT NULL,
    location         text NOT NULL,
    loaded           bigint NOT NULL,
    adjusted         bigint NOT NULL,
    transferred      bigint NOT NULL,
    available        bigint NOT NULL,
    held             bigint NOT NULL,
    sold             bigint NOT NULL,
    returned         bigint NOT NULL,              -- by buyers, restocked or written off
    PRIMARY KEY (sale_id, partition, epoch, sequence, sku, location),
    FOREIGN KEY (sale_id, partition, epoch, sequence) REFERENCES ledger_imports,
    CHECK (loaded + adjusted + transferred = available + held + sold)
);

-- Reservations with an event among the missing numbers. Their histories are short; the keys that their
-- records keep are those of all their returns and extensions up to the import. No foreign key: its check
-- would cost a third of the import.
CREATE TABLE imported_reservations (
    reservation_id   text PRIMARY KEY,
    sale_id          text NOT NULL,
    partition        integer NOT NULL,
    epoch            integer NOT NULL,             -- of the import
    sequence         bigint NOT NULL,
    return_keys      text[] NOT NULL,
    extend_keys      text[] NOT NULL
);
CREATE INDEX imported_reservations_with_returns ON imported_reservations (sale_id, partition)
    WHERE return_keys <> '{}';

CREATE TRIGGER ledger_imports_final BEFORE UPDATE OR DELETE ON ledger_imports
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER ledger_import_accounts_final BEFORE UPDATE OR DELETE ON ledger_import_accounts
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
