"""
The HTTP edge: bytes come in, values that cannot be wrong go to the service, bytes go out.

Begin with `app.py`, the map of the service. It decides nothing about conversations.
"""
