-- Which parameters of its integration a member overrides: a JSON object of texts, encrypted. NULL = none.
ALTER TABLE members ADD COLUMN overrides BLOB;
CREATE INDEX members_overriding ON members (integration_id) WHERE overrides IS NOT NULL;
