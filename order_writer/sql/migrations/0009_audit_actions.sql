-- One spelling of an action, whoever acted: what the reconciler wrote as sale.open is sale_open.
UPDATE audit_log SET action = replace(action, '.', '_') WHERE action IN ('sale.open', 'sale.close');
