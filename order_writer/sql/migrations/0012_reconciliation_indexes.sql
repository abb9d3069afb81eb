-- What is asked for, in the order in which it is run: people's requests first.
CREATE INDEX reconciliations_requested
    ON reconciliations ((requested_by = 'reconciler'), reconciliation_id) WHERE status = 'requested';
-- What may be old enough to be removed, and which periodic runs of a sale found differences.
CREATE INDEX reconciliations_periodic ON reconciliations (finished_at)
    WHERE requested_by = 'reconciler';
CREATE INDEX reconciliations_unbalanced ON reconciliations (sale_id, reconciliation_id DESC)
    WHERE requested_by = 'reconciler' AND NOT balanced;
