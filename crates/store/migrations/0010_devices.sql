-- A product that the claimer has agreed may take the device, although the claimer is not on its team.
ALTER TABLE devices ADD COLUMN agreed_product BIGINT;

-- Codes that a product gives out, each for one claim of one of its devices.
CREATE TABLE device_claim_codes (
    hash       BLOB PRIMARY KEY,                 -- SHA-256 of the code
    product_id BIGINT NOT NULL REFERENCES products (id) ON DELETE CASCADE,
    created_by TEXT NOT NULL,                    -- user id; the code ends with its place on the team
    expires_at BIGINT NOT NULL
);
CREATE INDEX device_claim_codes_by_product ON device_claim_codes (product_id, expires_at);

-- Claims of devices in products whose claimer is not on the product's team: anybody who knew an id could claim. They end
-- here, and the next start tells of them.
CREATE TABLE ended_claims (
    device_id  TEXT PRIMARY KEY,
    user_id    TEXT NOT NULL,
    username   TEXT NOT NULL,
    product_id BIGINT NOT NULL,
    owner      TEXT NOT NULL                     -- of the product
);
INSERT INTO ended_claims (device_id, user_id, username, product_id, owner)
    SELECT devices.id, users.id, users.username, products.id, products.owner
    FROM devices JOIN products ON products.id = devices.product_id JOIN users ON users.id = devices.user_id
    WHERE products.owner <> 'u:' || users.id AND NOT EXISTS (
        SELECT 1 FROM team WHERE team.user_id = users.id AND team.scope IN (products.owner, 'p:' || products.id));
UPDATE devices SET user_id = NULL WHERE id IN (SELECT device_id FROM ended_claims);
-- The server itself is the one who did it; nobody has this id.
INSERT INTO audit (owner, at, actor, actor_name, action, subject, before, after)
    SELECT side.owner, CAST(strftime('%s', 'now') AS INTEGER) * 1000, '000000000000000000000000', 'tributary',
           'device.unclaim', device_id,
           json_object('name', device_id, 'claimed_by', username, 'product_id', product_id), NULL
    FROM (SELECT owner, device_id, username, product_id FROM ended_claims
          UNION ALL SELECT 'u:' || user_id, device_id, username, NULL FROM ended_claims) AS side
    ORDER BY device_id;

-- A device that is in no product and nobody's is not kept: its name and notes are not for whoever comes next.
DELETE FROM devices WHERE user_id IS NULL AND product_id IS NULL;

-- How many devices each owner has: those in its products, and a person's claims that are in no product.
CREATE TABLE device_counts (owner TEXT PRIMARY KEY, devices BIGINT NOT NULL) WITHOUT ROWID;
INSERT INTO device_counts (owner, devices)
    SELECT COALESCE(products.owner, 'u:' || devices.user_id) AS holder, COUNT(*)
    FROM devices LEFT JOIN products ON products.id = devices.product_id GROUP BY holder;
CREATE TRIGGER device_counted AFTER INSERT ON devices
WHEN NEW.product_id IS NOT NULL OR NEW.user_id IS NOT NULL BEGIN
    INSERT INTO device_counts (owner, devices)
        VALUES (COALESCE((SELECT owner FROM products WHERE id = NEW.product_id), 'u:' || NEW.user_id), 1)
        ON CONFLICT (owner) DO UPDATE SET devices = devices + 1;
END;
CREATE TRIGGER device_uncounted AFTER DELETE ON devices BEGIN
    UPDATE device_counts SET devices = devices - 1
        WHERE owner = COALESCE((SELECT owner FROM products WHERE id = OLD.product_id), 'u:' || OLD.user_id);
END;
CREATE TRIGGER device_count_moved AFTER UPDATE OF product_id, user_id ON devices
WHEN OLD.product_id IS NOT NEW.product_id OR OLD.user_id IS NOT NEW.user_id BEGIN
    UPDATE device_counts SET devices = devices - 1
        WHERE owner = COALESCE((SELECT owner FROM products WHERE id = OLD.product_id), 'u:' || OLD.user_id);
    INSERT INTO device_counts (owner, devices)
        SELECT holder, 1 FROM (
            SELECT COALESCE((SELECT owner FROM products WHERE id = NEW.product_id), 'u:' || NEW.user_id) AS holder)
        WHERE holder IS NOT NULL
        ON CONFLICT (owner) DO UPDATE SET devices = devices + 1;
END;
CREATE TRIGGER device_counts_of_product AFTER UPDATE OF owner ON products WHEN OLD.owner <> NEW.owner BEGIN
    UPDATE device_counts SET devices = devices - (SELECT COUNT(*) FROM devices WHERE product_id = NEW.id)
        WHERE owner = OLD.owner;
    INSERT INTO device_counts (owner, devices)
        SELECT NEW.owner, COUNT(*) FROM devices WHERE product_id = NEW.id HAVING COUNT(*) > 0
        ON CONFLICT (owner) DO UPDATE SET devices = devices + excluded.devices;
END;
