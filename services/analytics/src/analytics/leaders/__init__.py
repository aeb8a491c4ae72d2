"""Leaders: who scores highest."""
