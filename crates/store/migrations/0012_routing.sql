-- What the data plane's index needs of an integration, taken from its configuration and read from one index, so that no
-- configuration is read before it is used.
ALTER TABLE integrations ADD COLUMN device TEXT GENERATED ALWAYS AS (json_extract(config, '$.config.deviceID')) VIRTUAL;
ALTER TABLE integrations ADD COLUMN sending TEXT GENERATED ALWAYS AS (
    CASE WHEN json_type(config, '$.config.rate') IS NOT NULL OR json_type(config, '$.config.concurrency') IS NOT NULL
        OR json_type(config, '$.config.retry') IS NOT NULL
    THEN json_object('rate', json_extract(config, '$.config.rate'), 'concurrency', json_extract(config, '$.config.concurrency'),
        'retry', json_extract(config, '$.config.retry')) END) VIRTUAL;
ALTER TABLE integrations ADD COLUMN bytes BIGINT GENERATED ALWAYS AS (
    LENGTH(CAST(config AS BLOB)) + COALESCE(LENGTH(sealed), 0)) VIRTUAL;
CREATE INDEX integrations_routed ON integrations (id, owner, event, disabled, device, sending, updated_at, bytes);
CREATE INDEX integrations_by_bytes ON integrations (owner, bytes);
