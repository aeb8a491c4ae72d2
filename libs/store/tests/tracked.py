"""Contexts of traces, as a caller sends them."""

from __future__ import annotations

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"
