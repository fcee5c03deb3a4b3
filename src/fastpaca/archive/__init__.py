"""
The archive: a second copy of the message logs of a node on SQLite, in a database for queries.

It is written after the commit: a message is acknowledged once it is in the store, and archived a
little later, at least once. What is archived may be trimmed from the store, which then keeps the
newest messages only. Older ones are read from the archive, and a caller sees no difference.

- `base` is the port of an archive, `postgres` and `schema` its adapter.
- `local` and `trims` are the SQL on the node's own database: what is to be archived or erased, and
  what is trimmed. The store runs it as jobs, and knows nothing of it.
- `session` makes sure that the archive is the one that the rows went to.
- `writer` archives, trims and erases, for as long as the node runs.
- `store` is the store of such a node, as the engine sees it: `reads` joins what is here and what is
  in the archive, `purges` erases in both.
"""
