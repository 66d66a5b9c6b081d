-- Owners whose events are read apart from the rest of the log because they came faster than they could be dealt with.
-- The cursor of the shard says how far all other events have been dealt with.
CREATE TABLE backlogs (
    id    BIGINT PRIMARY KEY,
    shard BIGINT NOT NULL,
    seq   BIGINT NOT NULL,                       -- how far its own events have been dealt with
    until BIGINT                                 -- its last event; NULL = all that are still to come
);

-- Whose events these are: the products and sandboxes, each from behind a place of the log on.
CREATE TABLE backlog_sources (
    backlog BIGINT NOT NULL,
    source  TEXT NOT NULL,                       -- product/ID or user/ID
    after   BIGINT NOT NULL,
    PRIMARY KEY (backlog, source)
) WITHOUT ROWID;

-- The owner with the most loses kept deliveries first, so they are counted by the owner for whom they were kept.
ALTER TABLE kept ADD COLUMN owner TEXT NOT NULL DEFAULT '';
UPDATE kept SET owner = COALESCE((SELECT owner FROM integrations WHERE id = kept.integration_id), '');
CREATE INDEX kept_by_owner ON kept (owner, at, id, bytes) WHERE redelivery_id IS NULL;
CREATE TABLE kept_owners (owner TEXT PRIMARY KEY, bytes BIGINT NOT NULL);
CREATE INDEX kept_owners_by_bytes ON kept_owners (bytes);
INSERT INTO kept_owners (owner, bytes) SELECT owner, SUM(bytes) FROM kept GROUP BY owner;
CREATE TRIGGER kept_counted_for_owner AFTER INSERT ON kept BEGIN
    UPDATE kept SET owner = COALESCE((SELECT owner FROM integrations WHERE id = NEW.integration_id), '')
        WHERE id = NEW.id;
    INSERT INTO kept_owners (owner, bytes)
        SELECT owner, bytes FROM kept WHERE id = NEW.id
        ON CONFLICT (owner) DO UPDATE SET bytes = kept_owners.bytes + excluded.bytes;
END;
CREATE TRIGGER kept_removed_from_owner AFTER DELETE ON kept BEGIN
    UPDATE kept_owners SET bytes = bytes - OLD.bytes WHERE owner = OLD.owner;
END;
