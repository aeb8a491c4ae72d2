"""The log's own rows, to Kafka: in order, numbered by the log, moved on by compare-and-set."""
