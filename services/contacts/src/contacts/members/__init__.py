"""Members of the company: who works here, and whether they do."""
