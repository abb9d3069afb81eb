-- Operators read the audit log of one sale, newest first.
CREATE INDEX audit_log_by_sale ON audit_log (sale_id, audit_id DESC);
