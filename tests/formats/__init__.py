"""What providers' formats take in, and what they put out."""
