"""Decisions and what follows from events: aggregates, reactions, timers; what leaves by them."""
