-- repeat while: SELECT to_regnamespace('before_0014') IS NOT NULL
-- A sale's rows from a table that it had to itself into its block: a transaction for each table, so
-- that a ledger of thousands needs no more locks than a ledger of one, and goes on where it stopped.
-- What is attached is moved, whatever its name; a table that was detached is an archive, and stays.
DO $$
DECLARE
    parent text;
    own regclass;
    names text;
BEGIN
    -- Lines last: each needs its reservation.
    SELECT p.relname, i.inhrelid::regclass INTO parent, own
    FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relnamespace = 'before_0014'::regnamespace AND p.relkind = 'p'
    ORDER BY p.relname = 'order_lines', i.inhrelid LIMIT 1;
    IF own IS NULL THEN
        DROP SCHEMA before_0014 CASCADE;
        RETURN;
    END IF;
    -- By the parent's columns: a table that was restored may have them in another order.
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names
    FROM pg_attribute
    WHERE attrelid = format('before_0014.%I', parent)::regclass AND attnum > 0 AND NOT attisdropped;
    -- An outer join: a row without a sale has no block, which the new table refuses.
    EXECUTE format('INSERT INTO %I (%s, block) SELECT %s, block FROM %s '
                   'LEFT JOIN (SELECT sale_id, block FROM sales) AS s USING (sale_id)',
                   parent, names, names, own);
    EXECUTE format('DROP TABLE %s', own);
END $$;
