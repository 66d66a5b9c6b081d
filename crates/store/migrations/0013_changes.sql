-- What routes and caches are made from, as it changes: written by whatever statement changes it, in its transaction, and
-- read by the process in the order of the ids. Old rows are dropped.
CREATE TABLE changes (
    id   INTEGER PRIMARY KEY AUTOINCREMENT,
    at   BIGINT NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER) * 1000),
    what TEXT NOT NULL                           -- a word and the ids that it is about
);
CREATE INDEX changes_by_at ON changes (at);

CREATE TRIGGER changes_integration_added AFTER INSERT ON integrations WHEN NEW.sandbox BEGIN
    INSERT INTO changes (what) VALUES ('sandbox ' || NEW.owner);
END;
CREATE TRIGGER changes_integration AFTER UPDATE ON integrations BEGIN
    INSERT INTO changes (what) VALUES ('integration ' || NEW.id);
END;
CREATE TRIGGER changes_integration_removed AFTER DELETE ON integrations WHEN OLD.sandbox BEGIN
    INSERT INTO changes (what) VALUES ('sandbox ' || OLD.owner);
END;

CREATE TRIGGER changes_member_added AFTER INSERT ON members BEGIN
    INSERT INTO changes (what) VALUES ('routes ' || NEW.product_id);
END;
CREATE TRIGGER changes_member AFTER UPDATE OF integration_id, product_id, overrides ON members BEGIN
    INSERT INTO changes (what) VALUES ('routes ' || NEW.product_id);
END;
CREATE TRIGGER changes_member_removed AFTER DELETE ON members BEGIN
    INSERT INTO changes (what) VALUES ('routes ' || OLD.product_id);
END;

CREATE TRIGGER changes_secret_added AFTER INSERT ON secrets BEGIN
    INSERT INTO changes (what) VALUES ('secrets ' || NEW.owner);
END;
-- When a delivery used it last changes often and is nobody's concern.
CREATE TRIGGER changes_secret AFTER UPDATE OF owner, name, sealed ON secrets BEGIN
    INSERT INTO changes (what) VALUES ('secrets ' || NEW.owner);
END;
CREATE TRIGGER changes_secret_removed AFTER DELETE ON secrets BEGIN
    INSERT INTO changes (what) VALUES ('secrets ' || OLD.owner);
END;

-- What is new is in no cache: only what is changed or ends is told.
CREATE TRIGGER changes_token AFTER UPDATE ON tokens BEGIN
    INSERT INTO changes (what) VALUES ('token ' || LOWER(HEX(OLD.hash)));
END;
CREATE TRIGGER changes_token_removed AFTER DELETE ON tokens BEGIN
    INSERT INTO changes (what) VALUES ('token ' || LOWER(HEX(OLD.hash)));
END;
CREATE TRIGGER changes_user AFTER UPDATE OF username ON users BEGIN
    INSERT INTO changes (what) VALUES ('user ' || NEW.id);
END;
CREATE TRIGGER changes_user_removed AFTER DELETE ON users BEGIN
    INSERT INTO changes (what) VALUES ('user ' || OLD.id);
END;

CREATE TRIGGER changes_team_added AFTER INSERT ON team BEGIN
    INSERT INTO changes (what) VALUES ('team ' || NEW.user_id || ' ' || NEW.scope);
END;
CREATE TRIGGER changes_team AFTER UPDATE ON team BEGIN
    INSERT INTO changes (what) VALUES ('team ' || NEW.user_id || ' ' || NEW.scope);
END;
CREATE TRIGGER changes_team_removed AFTER DELETE ON team BEGIN
    INSERT INTO changes (what) VALUES ('team ' || OLD.user_id || ' ' || OLD.scope);
END;

CREATE TRIGGER changes_product AFTER UPDATE ON products BEGIN
    INSERT INTO changes (what) VALUES ('product ' || NEW.id);
END;
CREATE TRIGGER changes_product_removed AFTER DELETE ON products BEGIN
    INSERT INTO changes (what) VALUES ('product ' || OLD.id);
END;

CREATE TRIGGER changes_device AFTER UPDATE ON devices WHEN OLD.product_id IS NOT NULL BEGIN
    INSERT INTO changes (what) VALUES ('device ' || OLD.id || ' ' || OLD.product_id);
END;
CREATE TRIGGER changes_device_removed AFTER DELETE ON devices WHEN OLD.product_id IS NOT NULL BEGIN
    INSERT INTO changes (what) VALUES ('device ' || OLD.id || ' ' || OLD.product_id);
END;
CREATE TRIGGER changes_claim AFTER UPDATE OF user_id ON devices WHEN OLD.user_id IS NOT NEW.user_id AND OLD.user_id IS NOT NULL BEGIN
    INSERT INTO changes (what) VALUES ('claims ' || OLD.user_id);
END;

-- The tokens that came out of one sign-in, one after the other, are a family. A refresh token that was used is remembered:
-- whoever uses it again has copied it, or was copied, so the family ends.
ALTER TABLE tokens ADD COLUMN family BLOB;
UPDATE tokens SET family = hash WHERE refresh_hash IS NOT NULL;
CREATE INDEX tokens_by_family ON tokens (family) WHERE family IS NOT NULL;
CREATE TABLE spent_refresh_tokens (
    hash    BLOB PRIMARY KEY,                    -- SHA-256 of the refresh token
    family  BLOB NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    at      BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX spent_refresh_tokens_by_user ON spent_refresh_tokens (user_id, family, at);
