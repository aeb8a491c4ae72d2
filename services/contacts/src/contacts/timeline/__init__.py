"""The timeline: what happened with a customer, newest first."""
