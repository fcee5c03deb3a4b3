-- Contexts, their logs and windows, and the answers kept under idempotency keys.
--
-- Times are microseconds since 1970, UTC. Columns that are not named otherwise are as the rows of
-- fastpaca.store.base.
--
-- What a purge erases must be gone from the file. SQLite overwrites what it deletes (secure_delete), but
-- when it rebalances a b-tree it moves rows from page to page, and copies of them may stay behind in the
-- unused part of a page, where no later deletion finds them. So nothing that a caller wrote is ever moved:
--
-- * Tables with content (messages, synthetics, compactions, configurations, metadata) grow at their end
--   only, and what is erased is set to NULL in its place. The row stays, empty; so the room of short rows
--   is given back only when the file is rebuilt (VACUUM), that of long ones at once.
-- * Ids must be kept in order, so they do move; but all rows of a table of ids have one size, and rows of
--   one size leave nothing behind: each page is refilled exactly where it was cleared. A full page must
--   have some room left, though: when SQLite moves the list of offsets at the head of a page, it seems to move up
--   to two bytes more for each row, and these must not be the beginning of a row. So the
--   rest of 4096 bytes divided by the size of a row matters, in leaves and in inner pages; rows of ids have
--   sizes for which it is large enough.

-- One row per context, rewritten by every commit and therefore narrow. Nothing else refers to an id.
CREATE TABLE contexts (
    key INTEGER PRIMARY KEY, -- stands for the context everywhere else
    version INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    status INTEGER NOT NULL, -- 0: active, 1: tombstoned, 2: forming
    created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL,
    spoken_at_us INTEGER NOT NULL,
    commit_id BLOB NOT NULL,
    usage BLOB NOT NULL -- sums of numbers, and a hash
) STRICT;

CREATE INDEX contexts_forming ON contexts (key) WHERE status = 2;

-- Ids in byte order: UTF-8, filled up with NUL (which no id holds) to 128 or to 512 bytes.
CREATE TABLE short_ids (
    id BLOB PRIMARY KEY,
    context INTEGER NOT NULL -- contexts.key + 2^40, which takes six bytes whatever the key
) WITHOUT ROWID, STRICT;

CREATE TABLE long_ids (
    id BLOB PRIMARY KEY,
    context INTEGER NOT NULL -- as above
) WITHOUT ROWID, STRICT;

CREATE VIEW ids AS
SELECT id, context - (1 << 40) AS context FROM short_ids
UNION ALL
SELECT id, context - (1 << 40) AS context FROM long_ids;

-- Each context has one row here that is not empty, and so in the table of metadata.
CREATE TABLE configurations (
    place INTEGER PRIMARY KEY,
    context INTEGER,
    token_budget INTEGER,
    trigger_ratio REAL,
    token_factor REAL,
    policy BLOB,
    forked_from BLOB -- empty if it is no fork
) STRICT;

CREATE UNIQUE INDEX configurations_by_context ON configurations (context) WHERE context IS NOT NULL;

CREATE TABLE metadata (
    place INTEGER PRIMARY KEY,
    context INTEGER,
    body BLOB
) STRICT;

CREATE UNIQUE INDEX metadata_by_context ON metadata (context) WHERE context IS NOT NULL;

CREATE VIEW states AS
SELECT
    contexts.key,
    CASE contexts.status WHEN 0 THEN 'active' WHEN 1 THEN 'tombstoned' ELSE 'forming' END AS status,
    configurations.token_budget,
    configurations.trigger_ratio,
    configurations.token_factor,
    configurations.policy,
    metadata.body AS metadata,
    contexts.version,
    contexts.last_seq,
    contexts.revision,
    contexts.commit_id,
    contexts.created_at_us,
    contexts.updated_at_us,
    contexts.spoken_at_us,
    contexts.usage,
    configurations.forked_from
FROM contexts
JOIN configurations ON configurations.context = contexts.key
JOIN metadata ON metadata.context = contexts.key;

-- Appended in the order of commits, whatever the context: clustered by context, every message would write
-- a page of its own. The body stands last, so that the rest is read without it.
CREATE TABLE messages (
    place INTEGER PRIMARY KEY,
    context INTEGER,
    seq INTEGER,
    version INTEGER,
    at_us INTEGER,
    origin TEXT,
    usage BLOB,
    revises INTEGER,
    counts BLOB,
    body BLOB
) STRICT;

CREATE UNIQUE INDEX messages_by_seq ON messages (context, seq) WHERE context IS NOT NULL;

-- Which rows of a log revise which place: numbers only, so moving them leaves nothing behind that matters.
-- Trimming leaves them, so that the path of a context is known without its archive.
CREATE TABLE revisions (
    context INTEGER NOT NULL,
    place INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (context, place, seq)
) WITHOUT ROWID, STRICT;

CREATE UNIQUE INDEX revisions_by_seq ON revisions (context, seq);

-- Ids that callers gave their messages. This is a table of ids, so all its rows have one size; the context
-- stands first, so that the ids of one context lie together. Trimming leaves them.
CREATE TABLE message_ids (
    context INTEGER NOT NULL, -- contexts.key + 2^40, as above
    id_hash BLOB NOT NULL, -- filled up with NUL to 97 bytes
    place INTEGER NOT NULL, -- + 2^40, for the same reason
    PRIMARY KEY (context, id_hash, place)
) WITHOUT ROWID, STRICT;

CREATE TABLE synthetics (
    place INTEGER PRIMARY KEY,
    context INTEGER,
    version INTEGER,
    position INTEGER,
    at_us INTEGER,
    origin TEXT,
    counts BLOB,
    body BLOB
) STRICT;

CREATE UNIQUE INDEX synthetics_by_position ON synthetics (context, version, position)
WHERE context IS NOT NULL;

-- The window of the newest one is the current window of its context.
CREATE TABLE compactions (
    place INTEGER PRIMARY KEY, -- numbered together with messages.place
    context INTEGER,
    version INTEGER,
    strategy TEXT,
    from_seq INTEGER,
    to_seq INTEGER,
    tokens_before INTEGER,
    tokens_after INTEGER,
    at_us INTEGER,
    window BLOB
) STRICT;

CREATE UNIQUE INDEX compactions_by_version ON compactions (context, version)
WHERE context IS NOT NULL;

-- Keys are hashed: a random key dirties a page of the index with every insert, and short entries make for
-- fewer pages. A row lies at the place of the message or compaction that it answers for, so that a purge
-- finds it without one more index. Rows are deleted when they are old, the oldest first, the empty ones
-- included; what may stay behind of their neighbours then goes as soon as those are old.
CREATE TABLE answers (
    place INTEGER PRIMARY KEY,
    context INTEGER,
    key_hash BLOB UNIQUE,
    fingerprint BLOB,
    at_us INTEGER,
    answer BLOB
) STRICT;

-- What stays of a purged context: SHA-256 of its id.
CREATE TABLE purged (
    id_hash BLOB PRIMARY KEY
) WITHOUT ROWID, STRICT;

-- Purged contexts whose content is still to be erased, piece by piece.
CREATE TABLE erasures (
    context INTEGER PRIMARY KEY
) STRICT;
