"""Customers as one person: ids that were linked are read together."""
