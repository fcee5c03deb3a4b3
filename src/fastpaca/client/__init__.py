"""
The clients of a node: one synchronous, one for asyncio.

Pure modules make all the decisions: `requests` and `responses` translate between values and the
wire, `calls` has the verbs, `flow` the retries, `following` the stream, `compacting` the cut for a
summary, and `events` and `options` what these are built from. A verb is a generator that yields
what to do next. `sync` and `aio` are the two public modules, with the handles of contexts in
`sync_context` and `aio_context`; they hold names and types. Their drivers (`sync_driver`,
`aio_driver`) carry out what the generators yield, with httpx.

What callers have of a provider is pure, too: `appending` reads what is appended, with
`provider_objects`, `provider_responses` and `provider_usage`, and `provider_views` makes a view
ready for a package. `signatures` and `provider_types` are for type checkers alone.

`local` runs a node in the client's process, and is the only module that imports the server.
"""
