"""What model providers demand of a list of messages, one validator per provider."""
