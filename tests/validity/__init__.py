"""Whether windows of real conversations are what model providers accept, and what cuts cost."""
