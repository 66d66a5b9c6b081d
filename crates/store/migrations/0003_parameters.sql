-- Which parameters of its integration a member overrides: a JSON object of texts, encrypted. NULL = none.
ALTER TABLE members ADD COLUMN overrides BLOB;
