"""Members of the company, as contacts tells of them."""
