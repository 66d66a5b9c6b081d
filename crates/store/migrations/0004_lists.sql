-- What lists of integrations are searched and ordered by, taken from the configuration (sensitive values are masked in it).
ALTER TABLE integrations ADD COLUMN name TEXT
    GENERATED ALWAYS AS (LOWER(COALESCE(json_extract(config, '$.config.name'), ''))) VIRTUAL;
ALTER TABLE integrations ADD COLUMN address TEXT
    GENERATED ALWAYS AS (LOWER(COALESCE(json_extract(config, '$.config.url'), json_extract(config, '$.config.topic'),
        json_extract(config, '$.config.hub_name'), ''))) VIRTUAL;
CREATE INDEX integrations_by_name ON integrations (owner, name, id);
CREATE INDEX integrations_by_event ON integrations (owner, event, id);
CREATE INDEX integrations_by_update ON integrations (owner, updated_at, id);

-- One day of one integration is found by key, however many days are kept.
DROP INDEX counters_by_day;
CREATE INDEX counters_by_day ON counters (day, integration_id);
