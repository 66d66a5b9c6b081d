-- Ids are 24 lower-case hexadecimal digits, times are milliseconds since 1970 in UTC, days and hours are counted from
-- there. An owner is 'u:' or 'o:' and the id of the user or organization.

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    username      TEXT NOT NULL UNIQUE,          -- lower case
    password_hash TEXT,                          -- argon2; NULL for API users, who cannot sign in
    friendly_name TEXT,                          -- API users only
    created_at    BIGINT NOT NULL
);

CREATE TABLE tokens (
    hash         BLOB PRIMARY KEY,               -- SHA-256 of the token
    refresh_hash BLOB UNIQUE,                    -- SHA-256 of the refresh token
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client       TEXT NOT NULL,
    scopes       TEXT,                           -- JSON array; NULL = not limited (a person's token)
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT                          -- NULL = never
);
CREATE INDEX tokens_by_user ON tokens (user_id);

CREATE TABLE orgs (
    id         TEXT PRIMARY KEY,
    slug       TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    plan       TEXT NOT NULL,                    -- free, basic, enterprise
    created_at BIGINT NOT NULL
);

CREATE TABLE products (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    owner       TEXT NOT NULL,
    slug        TEXT NOT NULL UNIQUE,
    name        TEXT NOT NULL,
    description TEXT NOT NULL,
    platform_id BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE devices (
    id         TEXT PRIMARY KEY,
    name       TEXT,
    notes      TEXT,
    user_id    TEXT REFERENCES users (id) ON DELETE SET NULL,       -- who claimed it
    product_id BIGINT REFERENCES products (id) ON DELETE SET NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX devices_by_product ON devices (product_id, id);
CREATE INDEX devices_by_user ON devices (user_id, id);

CREATE TABLE team (
    scope      TEXT NOT NULL,                    -- 'o:' and the organization's id, or 'p:' and the product's id
    user_id    TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role       TEXT,                             -- NULL for API users, who have scopes
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, user_id)
);
CREATE INDEX team_by_user ON team (user_id);

CREATE TABLE integrations (
    id               TEXT PRIMARY KEY,
    owner            TEXT NOT NULL,
    integration_type TEXT NOT NULL,
    event            TEXT NOT NULL,
    disabled         BOOLEAN NOT NULL,
    sandbox          BOOLEAN NOT NULL,           -- listens to its owner's devices and has no members
    config           TEXT NOT NULL,              -- JSON {"v":1,"config":{…}}, sensitive values masked
    sealed           BLOB,                       -- the sensitive values, encrypted
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL
);
CREATE INDEX integrations_by_owner ON integrations (owner, created_at);

CREATE TABLE members (
    id             TEXT PRIMARY KEY,
    integration_id TEXT NOT NULL REFERENCES integrations (id) ON DELETE CASCADE,
    product_id     BIGINT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    position       BIGINT NOT NULL,              -- order of joining
    UNIQUE (integration_id, product_id)
);
CREATE INDEX members_by_product ON members (product_id);

-- Members that were merged into another one of the same product: what was under way for them counts there.
CREATE TABLE merged_members (
    member_id TEXT PRIMARY KEY,
    into_id   TEXT NOT NULL,
    at        BIGINT NOT NULL
);
CREATE INDEX merged_members_by_into ON merged_members (into_id);

-- One row per integration, member and UTC day. member_id is '' for sandbox integrations.
CREATE TABLE counters (
    integration_id TEXT NOT NULL,
    member_id      TEXT NOT NULL,
    product_id     BIGINT NOT NULL,              -- 0 for sandbox integrations
    day            BIGINT NOT NULL,
    success        BIGINT NOT NULL,
    error          BIGINT NOT NULL,
    skipped        BIGINT NOT NULL,
    PRIMARY KEY (integration_id, member_id, day)
) WITHOUT ROWID;
CREATE INDEX counters_by_member ON counters (member_id, day);
CREATE INDEX counters_by_day ON counters (day);

-- The same outcomes per product and UTC hour, for metrics/integration.
CREATE TABLE product_hours (
    product_id BIGINT NOT NULL,
    hour       BIGINT NOT NULL,
    success    BIGINT NOT NULL,
    error      BIGINT NOT NULL,
    skipped    BIGINT NOT NULL,
    PRIMARY KEY (product_id, hour)
) WITHOUT ROWID;

CREATE TABLE logs (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    integration_id TEXT NOT NULL,
    member_id      TEXT NOT NULL,
    success        BOOLEAN NOT NULL,
    at             BIGINT NOT NULL,
    entry          TEXT NOT NULL                 -- JSON {"v":1,"entry":{…}}, secrets masked
);
CREATE INDEX logs_by_member ON logs (integration_id, member_id, success, id);
-- A member's log is read whatever integration it belonged to at the time.
CREATE INDEX logs_by_one_member ON logs (member_id, success, id);
CREATE INDEX logs_by_at ON logs (at);

-- Deliveries that wait: for a retry, or because their destination is slow or full.
CREATE TABLE pending (
    id             INTEGER PRIMARY KEY,          -- given out by the pipeline
    lane           TEXT NOT NULL,
    due_at         BIGINT NOT NULL,
    integration_id TEXT NOT NULL,
    member_id      TEXT NOT NULL,
    product_id     BIGINT NOT NULL,
    attempt        BIGINT NOT NULL,              -- the number of the attempt that is due
    event          BLOB NOT NULL
);
CREATE INDEX pending_by_lane ON pending (lane, due_at, id);
CREATE INDEX pending_by_member ON pending (integration_id, member_id);

-- How far each shard of the event log has been dealt with.
CREATE TABLE cursors (
    shard BIGINT PRIMARY KEY,
    seq   BIGINT NOT NULL
);

CREATE TABLE secrets (
    owner            TEXT NOT NULL,
    name             TEXT NOT NULL,
    sealed           BLOB NOT NULL,
    created_by       TEXT NOT NULL,
    updated_by       TEXT NOT NULL,
    created_at       BIGINT NOT NULL,
    updated_at       BIGINT NOT NULL,
    last_accessed_at BIGINT,
    PRIMARY KEY (owner, name)
);

CREATE TABLE audit (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    owner   TEXT NOT NULL,
    at      BIGINT NOT NULL,
    actor   TEXT NOT NULL,                       -- user id
    action  TEXT NOT NULL,                       -- e.g. integration.separate
    subject TEXT NOT NULL,                       -- e.g. the integration's id
    before  TEXT,                                -- JSON, sensitive values masked
    after   TEXT
);
CREATE INDEX audit_by_owner ON audit (owner, id);
