"""Tasks: what colleagues are to do about deals, and who tells them."""
