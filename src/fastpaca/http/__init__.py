"""
HTTP/1.1 and WebSockets: the third pure machine, and the sockets around it.

`connection.py` decides everything about one connection and does no I/O. `server.py` owns sockets,
timers and tasks and asks it. An application is an `Application`: it takes a `Request` and returns a
`Response`, whether they travel over a socket or not. Nothing here knows what a request asks for.
"""
