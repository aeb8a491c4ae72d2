"""A service as a process: HTTP, commands, settings, the loops of every worker. No business word."""
