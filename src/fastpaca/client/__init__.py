"""
The client of a node, for code that waits and for asyncio.

Everything that a client decides is in pure modules: `protocol` makes requests of calls and values
of answers, `calls` has the verbs, `flow` the retries, `following` the stream, `compacting` the cut
for a summary, `events` and `terms` what they are made of. A verb is a generator that says what is
to be done next. `sync` and `aio` are the two front doors; they hold names and types, and a driver
each (`sync_driver`, `aio_driver`) carries out what the generators say, with httpx.

`local` puts a node into the process of its client, and is the only module that knows the server.
"""
