-- What a kept delivery is found by. Rows that were kept before have no status and no text.
ALTER TABLE kept ADD COLUMN event_name TEXT NOT NULL DEFAULT '';
ALTER TABLE kept ADD COLUMN device TEXT NOT NULL DEFAULT '';
ALTER TABLE kept ADD COLUMN status BIGINT;                   -- of the last reply, an HTTP status; NULL = none
ALTER TABLE kept ADD COLUMN error TEXT NOT NULL DEFAULT '';  -- secrets masked

-- The kept rows that a run is made of, as a JSON list; NULL = all that the rest names.
ALTER TABLE redeliveries ADD COLUMN kept_ids TEXT;
