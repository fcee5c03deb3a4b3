"""
What tests of several directories share: builders of messages, and small worlds to put them in.

What only one directory needs stands in that directory.
"""
