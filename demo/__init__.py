"""The demo: real purchase history, streamed in by a public SDK, and the answers."""
