"""Bands: what a score amounts to in words, and when that ends by itself."""
