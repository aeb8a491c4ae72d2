"""The tables of sales."""
