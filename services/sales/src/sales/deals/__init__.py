"""Deals: what may happen to one, commands over HTTP, the pipeline and its board."""
