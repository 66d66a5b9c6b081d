-- Deliveries that failed or were skipped, with their events, so that they can be made again. A row belongs to the
-- integration that its member is in now (member_id is '' in a sandbox).
CREATE TABLE kept (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    integration_id TEXT NOT NULL,
    member_id      TEXT NOT NULL,
    product_id     BIGINT NOT NULL,              -- 0 in a sandbox
    outcome        TEXT NOT NULL,                -- error, skipped
    at             BIGINT NOT NULL,              -- when it ended
    bytes          BIGINT NOT NULL,              -- of the event
    redelivery_id  TEXT,                         -- the run that is making it again; NULL = none
    event          BLOB NOT NULL                 -- as in pending
);
CREATE INDEX kept_by_integration ON kept (integration_id, id, at, outcome, product_id, member_id, redelivery_id);
CREATE INDEX kept_by_member ON kept (member_id);
CREATE INDEX kept_by_at ON kept (at, id, bytes) WHERE redelivery_id IS NULL;

-- The bytes of all of them, in one row: whichever statement adds or removes some.
CREATE TABLE kept_total (id INTEGER PRIMARY KEY CHECK (id = 1), bytes BIGINT NOT NULL);
INSERT INTO kept_total (id, bytes) VALUES (1, 0);
CREATE TRIGGER kept_added AFTER INSERT ON kept BEGIN
    UPDATE kept_total SET bytes = bytes + NEW.bytes;
END;
CREATE TRIGGER kept_removed AFTER DELETE ON kept BEGIN
    UPDATE kept_total SET bytes = bytes - OLD.bytes;
END;

-- Runs that make kept deliveries again.
CREATE TABLE redeliveries (
    id             TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL,
    member_id      TEXT,                         -- of this member alone; NULL = of all
    kept_id        BIGINT,                       -- this one alone; NULL = all that the rest names
    created_by     TEXT NOT NULL,                -- user id
    created_at     BIGINT NOT NULL,
    state          TEXT NOT NULL,                -- running, finished, cancelled
    from_at        BIGINT NOT NULL,
    to_at          BIGINT NOT NULL,
    outcome        TEXT,                         -- NULL = both
    products       TEXT,                         -- JSON list of product ids; NULL = all
    total          BIGINT NOT NULL,
    next_after     BIGINT NOT NULL,              -- the last kept row that was looked at
    up_to          BIGINT NOT NULL,              -- the last kept row that it may take
    sent           BIGINT NOT NULL DEFAULT 0,
    success        BIGINT NOT NULL DEFAULT 0,
    error          BIGINT NOT NULL DEFAULT 0,
    skipped        BIGINT NOT NULL DEFAULT 0,
    finished_at    BIGINT
);
CREATE INDEX redeliveries_by_integration ON redeliveries (integration_id, created_at);
CREATE INDEX redeliveries_running ON redeliveries (created_at) WHERE state = 'running';

ALTER TABLE pending ADD COLUMN kept_id BIGINT;
ALTER TABLE pending ADD COLUMN redelivery_id TEXT;
CREATE INDEX pending_by_redelivery ON pending (redelivery_id) WHERE redelivery_id IS NOT NULL;

ALTER TABLE counters ADD COLUMN redelivered_success BIGINT NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN redelivered_error BIGINT NOT NULL DEFAULT 0;
ALTER TABLE counters ADD COLUMN redelivered_skipped BIGINT NOT NULL DEFAULT 0;

ALTER TABLE logs ADD COLUMN kept_id BIGINT;
ALTER TABLE logs ADD COLUMN redelivered BOOLEAN NOT NULL DEFAULT FALSE;
