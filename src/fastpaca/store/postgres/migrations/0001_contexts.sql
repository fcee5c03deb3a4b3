-- Contexts, their logs and windows, and the answers kept under idempotency keys.
--
-- Times are microseconds since 1970, UTC. Columns that are not named otherwise are as the rows of
-- fastpaca.store.base.
--
-- The primary keys of all tables but one begin with context_id, 16 bytes of BLAKE2b of the caller's id, and nothing
-- refers across contexts: no foreign key, no sequence, no other unique constraint. So they can be distributed by hash
-- of context_id, and all that belongs to one context lies together. Answers are found by their keys, and distributed
-- by these.

-- One row per context, rewritten by every commit. Nothing that a commit of messages changes is in an index, and
-- pages keep some room, so that the new version of a row finds its place beside the old one.
CREATE TABLE fastpaca.contexts (
    context_id bytea NOT NULL,
    id text COLLATE "C", -- NULL once purged: what stays is the hash above, so that the id is never given again
    status text NOT NULL,
    token_budget bigint NOT NULL,
    trigger_ratio double precision NOT NULL,
    token_factor double precision NOT NULL,
    policy bytea NOT NULL,
    metadata bytea NOT NULL,
    version bigint NOT NULL,
    last_seq bigint NOT NULL,
    revision bigint NOT NULL,
    commit_ids bytea NOT NULL, -- of the last commits, newest first: one for each of the last revisions
    created_at_us bigint NOT NULL,
    updated_at_us bigint NOT NULL,
    spoken_at_us bigint NOT NULL,
    usage bytea NOT NULL,
    forked_from bytea NOT NULL, -- empty if it is no fork
    must_erase boolean NOT NULL DEFAULT false, -- purged, but rows of it may be left in the other tables
    PRIMARY KEY (context_id)
) WITH (fillfactor = 80);

CREATE INDEX contexts_by_id ON fastpaca.contexts (id) WHERE id IS NOT NULL;

CREATE INDEX contexts_to_erase ON fastpaca.contexts (context_id) WHERE must_erase;

CREATE INDEX contexts_forming ON fastpaca.contexts (context_id) WHERE status = 'forming';

CREATE TABLE fastpaca.messages (
    context_id bytea NOT NULL,
    seq bigint NOT NULL,
    version bigint NOT NULL,
    at_us bigint NOT NULL,
    revises bigint, -- the place of the message that it takes the place of
    id_hash bytea, -- of the caller's id, if it has one and revises none: 16 bytes, so that no text is in an index
    origin text NOT NULL,
    usage bytea NOT NULL,
    counts bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (context_id, seq)
);

-- Most messages are in neither index, so that appending them costs no more.
CREATE INDEX messages_by_place ON fastpaca.messages (context_id, revises, seq) WHERE revises IS NOT NULL;

CREATE INDEX messages_by_id ON fastpaca.messages (context_id, id_hash, seq) WHERE id_hash IS NOT NULL;

CREATE TABLE fastpaca.synthetics (
    context_id bytea NOT NULL,
    version bigint NOT NULL,
    position bigint NOT NULL,
    at_us bigint NOT NULL,
    origin text NOT NULL,
    counts bytea NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (context_id, version, position)
);

-- The window of the newest one is the current window of its context.
CREATE TABLE fastpaca.compactions (
    context_id bytea NOT NULL,
    version bigint NOT NULL,
    strategy text NOT NULL,
    from_seq bigint,
    to_seq bigint,
    tokens_before bigint NOT NULL,
    tokens_after bigint NOT NULL,
    at_us bigint NOT NULL,
    "window" bytea NOT NULL,
    PRIMARY KEY (context_id, version)
);

-- Keys are hashed: all are short then, whatever the callers make of them. One key has one answer, whatever the context.
CREATE TABLE fastpaca.answers (
    key_hash bytea NOT NULL,
    context_id bytea NOT NULL,
    fingerprint bytea NOT NULL,
    at_us bigint NOT NULL,
    answer bytea NOT NULL,
    PRIMARY KEY (key_hash)
);

CREATE INDEX answers_by_context ON fastpaca.answers (context_id);

CREATE INDEX answers_by_age ON fastpaca.answers (at_us);
