"""Scores: what is answered about them and told of them, of linked ids as one person."""
