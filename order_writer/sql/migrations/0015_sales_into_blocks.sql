-- repeat while: SELECT to_regnamespace('before_0014') IS NOT NULL
-- One sale's rows from the tables it had to itself into its block: a transaction for each sale, so
-- that a ledger of thousands needs no more locks than a ledger of one, and goes on where it stopped.
DO $$
DECLARE
    oldest bigint;
    parent text;
    own text;
    names text;
BEGIN
    SELECT min(substring(c.relname FROM '\d+$')::bigint) INTO oldest
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_class p ON p.oid = i.inhparent
    WHERE p.relnamespace = 'before_0014'::regnamespace AND c.relkind = 'r';
    IF oldest IS NULL THEN
        DROP SCHEMA before_0014 CASCADE;
        RETURN;
    END IF;
    FOREACH parent IN ARRAY ARRAY['ledger_events', 'reservations', 'order_lines'] LOOP
        own := format('%s_%s', parent, oldest);
        -- A table that was detached is an archive: it stays where it is.
        CONTINUE WHEN NOT EXISTS (
            SELECT FROM pg_inherits
            WHERE inhrelid = to_regclass(own) AND inhparent = to_regclass('before_0014.' || parent));
        SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO names
        FROM pg_attribute
        WHERE attrelid = to_regclass(own) AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('INSERT INTO %I (%s, block) SELECT %s, %s FROM %I', parent, names, names,
                       (SELECT block FROM sales WHERE ledger_number = oldest), own);
        EXECUTE format('DROP TABLE %I', own);
    END LOOP;
END $$;
