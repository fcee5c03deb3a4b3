"""
The live stream: what the followers of a conversation are told of it, change by change.

- `subscription` is pure and decides what one follower is sent next.
- `follower` is one who follows, `channel` what the followers of one context share, `hub` has the
  channels of a node.
- `recent` keeps what many are sent at the same time.
"""
