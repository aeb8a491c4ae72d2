"""Sales: deals on their way through pipelines, and the customers they are with."""
