"""Live: scores as they move."""
