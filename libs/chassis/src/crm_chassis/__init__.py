"""What every service stands on: log, relay, inbox, projections, HTTP. No business word in it."""
