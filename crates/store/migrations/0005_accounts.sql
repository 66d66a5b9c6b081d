-- People who were invited to a team and have no account yet. The link that is handed to them has the token.
CREATE TABLE invitations (
    scope      TEXT NOT NULL,                    -- as in team
    username   TEXT NOT NULL,                    -- lower case
    role       TEXT NOT NULL,
    hash       BLOB NOT NULL UNIQUE,             -- SHA-256 of the token
    invited_by TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (scope, username)
);
CREATE INDEX invitations_by_inviter ON invitations (invited_by);

-- A page of integrations that execute on many products is read from these alone, without a look into the tables.
CREATE INDEX members_by_integration ON members (integration_id, position, id, product_id);
DROP INDEX counters_by_day;
CREATE INDEX counters_by_day ON counters (day, integration_id, success, error, skipped);
