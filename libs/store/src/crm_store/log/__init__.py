"""The log: one table, one order, for good."""
