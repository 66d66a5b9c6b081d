-- What an integration's configuration was after each change of it. They go with the integration.
CREATE TABLE versions (
    integration_id TEXT NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    version        BIGINT NOT NULL,              -- 1..n
    at             BIGINT NOT NULL,
    actor          TEXT,                         -- user id; NULL for what was there before versions were kept
    actor_name     TEXT,                         -- its user name at that time
    action         TEXT NOT NULL,                -- create, update, separate, merge, restore
    note           TEXT NOT NULL,                -- JSON object, e.g. {"restored_from":3}
    changes        TEXT NOT NULL,                -- JSON [{field, before, after}], sensitive values masked
    config         TEXT NOT NULL,                -- as in integrations
    sealed         BLOB,                         -- as in integrations
    PRIMARY KEY (integration_id, version)
);
INSERT INTO versions (integration_id, version, at, action, note, changes, config, sealed)
    SELECT id, 1, updated_at, 'create', '{}', '[]', config, sealed FROM integrations;

-- Names of secrets that an owner no longer has, so that what used one is not taken for using a field of the event's data.
CREATE TABLE deleted_secrets (
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    deleted_at BIGINT NOT NULL,
    PRIMARY KEY (owner, name)
) WITHOUT ROWID;
INSERT INTO deleted_secrets (owner, name, deleted_at)
    SELECT owner, subject, MAX(at) FROM audit WHERE action = 'secret.delete' AND NOT EXISTS (
        SELECT 1 FROM secrets WHERE secrets.owner = audit.owner AND secrets.name = audit.subject)
    GROUP BY owner, subject;

-- Who it was is told also when that user is gone.
ALTER TABLE audit ADD COLUMN actor_name TEXT;
UPDATE audit SET actor_name = (SELECT username FROM users WHERE users.id = audit.actor);
CREATE INDEX audit_by_at ON audit (at);
