-- The archive: a copy of the message logs of nodes on SQLite, for queries, and for reading what they trimmed.
--
-- Tables lie in the current schema of the connection, so that `messages` needs no prefix there.

-- One row: which archive this is. Nodes remember it, and trust no other.
CREATE TABLE fastpaca_archive (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    identity bytea NOT NULL
);

-- Rows are written once and never change. `body` and `counts` are what a node has stored, to the byte; what
-- stands in the columns before them is taken from there, for queries.
--
-- The type is json, not jsonb: jsonb refuses the escape \u0000, orders keys anew and forgets how numbers
-- were written. A query can cast it (parts::jsonb) where there are no such escapes.
CREATE TABLE messages (
    context_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    version bigint NOT NULL,
    role text, -- a NUL, which text cannot hold, is written as U+FFFD
    parts json,
    metadata json,
    token_count bigint,
    inserted_at timestamptz NOT NULL, -- exact: both sides count microseconds
    origin text NOT NULL DEFAULT '', -- how it came, such as anthropic/string; no part of what it says
    usage json, -- what the call that gave it cost, if that was reported
    revises bigint, -- the seq of the message whose place it takes; NULL if it was appended
    counts bytea NOT NULL, -- tokens piece by piece
    body bytea NOT NULL, -- the message as it was sent, with metadata
    PRIMARY KEY (context_id, seq)
);

CREATE INDEX messages_by_time ON messages (context_id, inserted_at);
