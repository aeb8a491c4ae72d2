"""A service's PostgreSQL: log, keys, tables, sessions; and how a process tells of itself."""
