-- Destinations that are left alone because they fail: each by its lane, which names the owner and host:port.
CREATE TABLE sleeping_lanes (
    lane         TEXT PRIMARY KEY,
    score        BIGINT NOT NULL,
    last_failure BIGINT NOT NULL
);
