"""Read models: pure folds over the log, and what runs them."""
