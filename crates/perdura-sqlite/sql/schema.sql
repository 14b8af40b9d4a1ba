-- A task hub. Integers are signed 64-bit; times are milliseconds since 1970. The number of this schema is user_version.

-- One row per partition, made with the hub. `epoch` and `nonce` are the latest grant: every commit checks both in the
-- statement that advances the counters. The counters are never lowered, so no number comes twice, not even after a purge.
CREATE TABLE partition (
    id            INTEGER PRIMARY KEY,
    epoch         INTEGER NOT NULL,
    nonce         BLOB    NOT NULL,
    next_key      INTEGER NOT NULL,
    next_envelope INTEGER NOT NULL,
    clock         INTEGER NOT NULL  -- the highest time that a committed batch carried
) STRICT;

-- One row per instance. The partition is in the top bits of the key, so the rows of a partition are a range. The record
-- decides; the columns before it are copies for checks and indexes. Times and the status lead, so that a query that
-- filters never reads into a long record.
CREATE TABLE instance (
    key          INTEGER PRIMARY KEY,
    status       INTEGER NOT NULL,
    generation   INTEGER NOT NULL,
    branch       INTEGER NOT NULL,
    tail         INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    completed_at INTEGER,
    id           TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    record       BLOB    NOT NULL
) STRICT;

-- Ids are compared byte by byte (BINARY), so case and Unicode forms are told apart.
CREATE UNIQUE INDEX instance_id ON instance (id);

-- Lists by status, and with it what recovery reads: the key follows the status in the index by itself.
CREATE INDEX instance_status ON instance (status);

-- Lists of what is new. Rows are added at its end and hardly ever change.
CREATE INDEX instance_created ON instance (created_at);

-- One row per turn: the events that were recorded together. Clustered, because a replay reads one branch in order.
CREATE TABLE history (
    instance_key INTEGER NOT NULL,
    generation   INTEGER NOT NULL,
    branch       INTEGER NOT NULL,
    first_event  INTEGER NOT NULL,
    event_count  INTEGER NOT NULL,
    events       BLOB    NOT NULL,
    PRIMARY KEY (instance_key, generation, branch, first_event)
) STRICT, WITHOUT ROWID;

-- Messages to partitions, removed by the commit that applies them.
CREATE TABLE message (
    receiver INTEGER NOT NULL,
    sender   INTEGER NOT NULL,
    number   INTEGER NOT NULL,
    body     BLOB    NOT NULL,
    PRIMARY KEY (receiver, sender, number)
) STRICT, WITHOUT ROWID;
