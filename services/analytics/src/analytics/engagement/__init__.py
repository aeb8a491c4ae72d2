"""Engagement: how much a customer has done lately, and why it is that much."""
