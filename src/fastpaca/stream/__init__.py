"""
The live stream: every change of a conversation, for its followers.

- `subscription` is pure and decides what one follower is sent next.
- `follower` reads for one follower, `channel` is shared by the followers of a context, and `hub`
  has the channels of a node.
- `recent` keeps the newest changes and frames, which many followers are sent at the same time.
"""
