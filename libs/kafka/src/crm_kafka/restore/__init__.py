"""A restored log: seen, compared with Kafka, and made whole again from there."""
