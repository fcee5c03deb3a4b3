-- What a node knows of its archive: a second copy of the logs, in another database.

-- Ids by key, for those who meet rows and ask whose they are. It grows at its end only, and what is erased is
-- set to NULL in its place, as in all tables with content. The row stays, so that no key is given twice.
CREATE TABLE context_ids (
    key INTEGER PRIMARY KEY, -- contexts.key
    id BLOB -- UTF-8; NULL once purged, here and in the archive
) STRICT;

INSERT INTO context_ids
SELECT context, iif(instr(id, x'00'), substr(id, 1, instr(id, x'00') - 1), id) FROM ids ORDER BY context;

-- One row. Places are those of messages and compactions, which grow in the order of commits: so one number
-- tells for all contexts what has been archived.
CREATE TABLE archive (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    identity BLOB, -- random bytes of the archive that the rows went to; NULL if none has been met
    archived_place INTEGER NOT NULL, -- all messages up to it are in the archive, but for halted contexts
    trimmed_place INTEGER NOT NULL, -- contexts with rows up to it have been trimmed; at most archived_place
    has_trimmed INTEGER NOT NULL -- whether anything was ever trimmed, so that the log is not all here
) STRICT;

INSERT INTO archive VALUES (1, NULL, 0, 0, 0);

-- Contexts of which the archive holds other content. They are neither archived nor trimmed any more.
CREATE TABLE archive_halts (
    context INTEGER PRIMARY KEY,
    archived_seq INTEGER NOT NULL -- the last seq that is in the archive as it is here
) STRICT;

-- Purged contexts whose content is still to be erased in the archive; their ids are kept until then.
CREATE TABLE archive_erasures (
    context INTEGER PRIMARY KEY
) STRICT;

-- A message that was trimmed is emptied as by a purge. If it carries an answer (answers.place), its context
-- stays for as long as the answer does, so that a purge finds that too.
