"""People: who they are, how they are known, and who was found to be whom."""
