-- A sealed value by which a start sees whether the key file is the one that this store was written with.
CREATE TABLE key_check (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
);
