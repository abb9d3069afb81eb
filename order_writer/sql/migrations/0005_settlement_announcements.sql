-- Which settlements the event log has been told of; where the log is the outbox itself, none.

CREATE TABLE settlement_announcements (
    sale_id          text PRIMARY KEY REFERENCES settlements ON DELETE CASCADE,
    announced_at     timestamptz NOT NULL DEFAULT now()
);
