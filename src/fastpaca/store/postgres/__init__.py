"""
The store of many nodes: PostgreSQL, or a database that is compatible with it.

- `store` is the store itself: reads run through `database`, each on a connection, and commits
  through `commits`, which retries them and finds out their outcome.
- `connections` opens and keeps connections, and `session` prepares each: `address`, `parameters`,
  `files` and `tls` say where and how to connect, as libpq would.
- `schema` migrates and distributes the tables; `operations` does so for the command.
- `statements` has all SQL of the store. `rows` turns changes into rows, `writes` writes them and
  looks for the outcome of a commit whose response was lost, `errors` names failures.
- `reads` reads; `primary` makes sure that it reads from the primary.
- `watch` checks whether the database can be used, and what its time is.
"""
