"""
The store of a single node: SQLite, embedded, in a directory of its own.

- `store` is the store itself. It works in `threads`, one of which is the `writer`.
- `files` locks the directory, and recovers and migrates the database.
- `rows` turns changes into rows, `writes` writes them, and `errors` interprets failures.
- `reads` reads.
- `wal` looks after the write-ahead log, `backup` makes backups.

Other users of the database, such as an archive, run their jobs in the threads of the store:
`SqliteStore.in_reader` and `in_writer`.
"""
