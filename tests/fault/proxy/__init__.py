"""A TCP proxy that delays, stalls, resets, and cuts at named points of a protocol."""
