-- Waiting rooms: how far each has come, so that numbers survive the loss of Redis, and the seed of its
-- draw, which is chosen before anybody can join.

CREATE TABLE waiting_rooms (
    sale_id          text PRIMARY KEY REFERENCES sales ON DELETE CASCADE,
    seed             bytea NOT NULL CHECK (length(seed) = 32),
    commitment       bytea NOT NULL CHECK (commitment = sha256(seed)), -- public before the draw
    made             boolean NOT NULL DEFAULT false,  -- Redis has had the room; missing keys are lost data
    issued           bigint NOT NULL DEFAULT 0 CHECK (issued >= 0),
    serving          bigint NOT NULL DEFAULT 0 CHECK (serving >= 0),
    lapsed           bigint NOT NULL DEFAULT 0 CHECK (lapsed >= 0),
    drawn            bigint CHECK (drawn >= 0),       -- how many were in the draw, once it was held
    drawn_at         timestamptz,
    mode             text NOT NULL DEFAULT 'open' CHECK (mode IN ('open', 'paused', 'queue_all')),
    rate_limit       bigint NOT NULL DEFAULT 0 CHECK (rate_limit >= 0), -- thousandths of a buyer a second; 0: none
    created_at       timestamptz NOT NULL DEFAULT now(),
    checkpointed_at  timestamptz,
    CHECK ((drawn IS NULL) = (drawn_at IS NULL))
);

CREATE TABLE waiting_room_revocations (
    sale_id          text NOT NULL REFERENCES waiting_rooms ON DELETE CASCADE,
    buyer_id         text NOT NULL,
    revoked_at       timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (sale_id, buyer_id)
);

-- A draw can be checked only if its seed and its count stay what they were.
CREATE FUNCTION refuse_changed_draw() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seed <> OLD.seed OR NEW.commitment <> OLD.commitment
       OR (OLD.drawn IS NOT NULL AND NEW.drawn IS DISTINCT FROM OLD.drawn) THEN
        RAISE EXCEPTION 'a draw never changes'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'waiting_room_draw_final';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER waiting_room_draw_final BEFORE UPDATE ON waiting_rooms
    FOR EACH ROW EXECUTE FUNCTION refuse_changed_draw();
