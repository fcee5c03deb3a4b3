"""
The HTTP API: parses requests, calls the service, writes responses.

Begin with `app.py`, the map of the service. Nothing here decides what happens to a conversation.
"""
