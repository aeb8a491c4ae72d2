"""Kafka -> log: what other services decided, each record once and in the order of its number."""

from crm_kafka.inbox.loop import Inbox
from crm_kafka.inbox.reclaims import InstanceTakenError

__all__ = ["Inbox", "InstanceTakenError"]
