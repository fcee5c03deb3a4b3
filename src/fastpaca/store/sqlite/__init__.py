"""
The store of a single node: SQLite, embedded, in a directory of its own.

- `store` is the store itself. Its work is done on `threads`, one of which is the `writer`.
- `files` takes the directory, recovers and migrates.
- `rows` makes rows of changes, `writes` runs them, `errors` judges failures.
- `reads` answers the reading methods.
- `wal` is the write-ahead log, `backup` makes backups.

What is built on the same database besides the store, as an archive is, runs jobs of its own in the
threads of the store: `SqliteStore.in_reader` and `in_writer`.
"""
