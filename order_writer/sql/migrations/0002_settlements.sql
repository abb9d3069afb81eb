-- What a settled sale came to: written once, in the transaction that settles it.

CREATE TABLE settlements (
    sale_id          text PRIMARY KEY REFERENCES sales,
    currency         text NOT NULL,
    settled_by       text NOT NULL,
    settled_at       timestamptz NOT NULL DEFAULT now()
);

-- One SKU at one location, over all partitions. Its figures come from three places, and the
-- constraints say that these tell the same story: `stock_accounts` (loaded, sold, unsold), the
-- events of operators (adjusted, restocked, written off) and the orders (confirmed, money).
CREATE TABLE settlement_lines (
    sale_id          text NOT NULL REFERENCES settlements ON DELETE CASCADE,
    sku              text NOT NULL,
    location         text NOT NULL,
    position         integer NOT NULL,
    loaded           bigint NOT NULL,
    adjusted         bigint NOT NULL,              -- by operators; written off units are not in it
    adjustments      jsonb NOT NULL DEFAULT '[]',  -- [{reason, units}]
    transferred      bigint NOT NULL,
    confirmed        bigint NOT NULL,              -- paid for
    restocked        bigint NOT NULL,              -- returned, sellable again
    written_off      bigint NOT NULL,              -- returned, lost
    returns          jsonb NOT NULL DEFAULT '[]',  -- [{reason, restocked, written_off}]
    sold             bigint NOT NULL,              -- with buyers for good
    unsold           bigint NOT NULL,
    revenue          numeric NOT NULL,             -- of `sold`, at the prices paid, minor units
    refunded         numeric NOT NULL,             -- of what was returned
    PRIMARY KEY (sale_id, sku, location),
    CONSTRAINT settlement_stock
        CHECK (loaded + adjusted + transferred = unsold + sold + written_off),
    CONSTRAINT settlement_orders CHECK (confirmed = sold + restocked + written_off)
);

CREATE TRIGGER settlements_final BEFORE UPDATE ON settlements
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER settlement_lines_final BEFORE UPDATE ON settlement_lines
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Few events move stock besides those of orders; the accounting reads just these.
CREATE INDEX ledger_events_by_operators ON ledger_events (sale_id, type)
    WHERE type IN ('adjust', 'return_units');
