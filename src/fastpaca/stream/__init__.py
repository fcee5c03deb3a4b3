"""
The live stream: what the followers of a conversation are told of it, change by change.

`subscription.py` is pure and decides what one follower is sent next.
"""
