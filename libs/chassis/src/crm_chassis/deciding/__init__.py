"""Commands from within: aggregates as the chassis runs them, reactions to events, timers."""
