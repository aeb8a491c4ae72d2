"""Buying: how recently, how often and for how much customers buy."""
