"""
The store of many nodes: PostgreSQL, or a database that is compatible with it.

- `store` is the store itself: the reads of the port, over `database`, which runs each piece of work
  on a connection, and `commits`, which tries again and follows up.
- `connections` makes and keeps connections, and `session` prepares each: `address`, `parameters`,
  `files` and `tls` say where it leads and how, as libpq would.
- `schema` migrates and distributes the tables, `operations` is that for the command.
- `statements` is all the SQL of the store. `rows` makes columns of changes, `writes` runs them and
  finds out what became of a commit whose answer was lost, `errors` names failures.
- `reads` answers the reading methods, `primary` sees that it is the primary that they ask.
- `watch` checks whether the database can be used, and what time it has.
"""
