"""
The archive: a second copy of the message logs of a node on SQLite, in a database for queries.

It is written after the commit: a message is acknowledged when it is in the store, and archived a
little later, at least once. Archived messages may be trimmed from the store, which then only keeps
the newest ones. Older ones are read from the archive, and callers see no difference.

- `base` is the port of an archive, `postgres` and `schema` its adapter.
- `local` and `trims` are the SQL on the node's own database: what to archive or erase, and what to
  trim. The store runs it as jobs.
- `session` makes sure that the archive is the one that has this node's rows.
- `writer` archives, trims and erases while the node runs.
- `store` is the store of such a node for the engine: `reads` joins the store and the archive,
  `purges` erases in both.
"""
