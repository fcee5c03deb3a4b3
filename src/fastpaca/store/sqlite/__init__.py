"""
The store of a single node: SQLite, embedded, in a directory of its own.

- `store` is the store itself, `threads` are what its work is done on.
- `files` takes the directory, recovers and migrates.
- `rows` makes rows of changes, `writes` runs them, `errors` judges failures.
- `reads` answers the reading methods.
- `archive` and `trims` are what a node with an archive asks for besides the port.
- `wal` is the write-ahead log, `backup` makes backups.
"""
