-- Who leads among the reconcilers, and until when on this server's clock: one row.
CREATE TABLE reconciler_lease (
    only_row         boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    holder           text NOT NULL,
    expires_at       timestamptz NOT NULL
);
