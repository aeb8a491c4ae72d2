"""The log to Kafka, Kafka to the log, and a restored log made whole from there."""
