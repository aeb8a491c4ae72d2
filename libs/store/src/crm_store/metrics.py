"""Every metric of the chassis, by Prometheus' conventions, in the default registry.

One process is one service, so no metric bears a service label: the scraper adds it.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

QUICK_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
SIZES: Final = (1, 10, 30, 100, 300, 1_000, 2_000, 5_000)

# --- the log ---------------------------------------------------------------------------------

LOG_APPENDED_EVENTS = Counter("kith_log_appended_events_total", "Own events appended.")
LOG_DUPLICATE_FACTS = Counter(
    "kith_log_duplicate_facts_total", "Facts that had been appended before."
)
LOG_REFUSED_APPENDS = Counter(
    "kith_log_refused_appends_total", "Appends refused because the log is not settled."
)
LOG_SETTLED = Gauge(
    "kith_log_settled",
    "1 while the log may be written to, 0 while it waits to be compared or recovered.",
)
LOG_MISSING_RECORDS = Gauge(
    "kith_log_missing_records", "Own records in Kafka that the log lacks: `recover` inserts them."
)
LOG_OLDEST_XID_AGE_SECONDS = Gauge(
    "kith_oldest_xid_age_seconds",
    "How long the oldest transaction id of the cluster has been open: it holds every tail back.",
)
LOG_ENDED_SESSIONS = Counter(
    "kith_log_ended_sessions_total", "Sessions that the watchdog ended for an old transaction id."
)

# --- the relay -------------------------------------------------------------------------------

RELAY_RECORDS = Counter("kith_relay_records_total", "Records acknowledged by Kafka.", ["topic"])
RELAY_AGE_SECONDS = Gauge(
    "kith_relay_age_seconds", "Age of the oldest row owed to Kafka, or 0 where nothing is owed."
)
RELAY_REBUILT_PRODUCERS = Counter(
    "kith_relay_rebuilt_producers_total", "Producers replaced after a fatal error."
)

# --- the inbox -------------------------------------------------------------------------------

INBOX_RECORDS = Counter(
    "kith_inbox_records_total",
    "Records read, by outcome: taken, duplicate, held, unreadable, quarantined.",
    ["topic", "outcome"],
)
INBOX_PARTITIONS = Gauge(
    "kith_inbox_partitions", "Topic partitions that the group gave to this process."
)
INBOX_HOLDING = Gauge(
    "kith_inbox_holding", "1 while a partition waits for a missing number.", ["topic", "partition"]
)
INBOX_STOPPED = Gauge(
    "kith_inbox_stopped",
    "1 while a partition stands: its publisher diverged, or its records cannot be unpacked.",
    ["topic", "partition"],
)
INBOX_BEHIND_RECORDS = Gauge(
    "kith_inbox_behind_records", "Records not taken yet.", ["topic", "partition"]
)
INBOX_AGE_SECONDS = Gauge(
    "kith_inbox_age_seconds",
    "Since the last record taken was recorded by its publisher, or 0 where none is behind it.",
    ["topic", "partition"],
)
INBOX_LOST_MARKS = Counter(
    "kith_inbox_lost_marks_total", "Batches another member had taken: marks were read again."
)
INBOX_BATCH_RECORDS = Histogram(
    "kith_inbox_batch_records", "Records written by one statement.", buckets=SIZES
)
INBOX_FAILED_COMMITS = Counter(
    "kith_inbox_failed_commits_total",
    "Group offsets for lag tools that could not be committed; normal in a rebalance.",
)

# --- projections -----------------------------------------------------------------------------

PROJECTION_EVENTS = Counter("kith_projection_events_total", "Events folded.", ["projection"])
PROJECTION_AGE_SECONDS = Gauge(
    "kith_projection_age_seconds", "Age of the last row folded, or 0 at the head.", ["projection"]
)
PROJECTION_ROWS_BEHIND = Gauge(
    "kith_projection_rows_behind", "Rows of the log not folded yet.", ["projection"]
)
PROJECTION_STOPPED = Gauge(
    "kith_projection_stopped", "1 while a projection stands on an error.", ["projection"]
)
PROJECTION_PAUSED = Gauge(
    "kith_projection_paused", "1 while a projection is paused by an operator.", ["projection"]
)
PROJECTION_BUILDING = Gauge(
    "kith_projection_building",
    "1 while a projection has not been level with the log yet.",
    ["projection"],
)
PARKED_KEYS = Gauge("kith_parked_keys", "Keys that a projection goes on without.", ["projection"])
PARKED_TOTAL = Counter("kith_parked_total", "Times that a key parked.", ["projection"])
REACTIONS = Counter(
    "kith_reactions_total",
    "Events that a reaction met, by outcome: acted, refused, history.",
    ["reaction", "outcome"],
)
EFFECTS = Counter(
    "kith_effects_total",
    "What events led to, by outcome: meant, history, sent, unknown, failed, retried, withdrawn.",
    ["effect", "outcome"],
)
EFFECTS_AGE_SECONDS = Gauge(
    "kith_effects_age_seconds", "How long the oldest message that is due has not been sent, or 0."
)
TIMERS = Counter(
    "kith_timers_total", "Timers that rang, by outcome: acted, refused.", ["decider", "outcome"]
)
TIMERS_LATE_SECONDS = Gauge(
    "kith_timers_late_seconds", "How long the oldest timer that has not rung was due, or 0."
)
PROJECTION_BATCH_SECONDS = Histogram(
    "kith_projection_batch_seconds",
    "One batch: read, fold, write.",
    ["projection"],
    buckets=QUICK_S,
)

# --- lease, loops, HTTP ----------------------------------------------------------------------

LEASE_HELD = Gauge("kith_lease_held", "1 while this process holds the lease.", ["lease"])
LOOP_BEAT_AGE_SECONDS = Gauge(
    "kith_loop_beat_age_seconds", "Seconds since a loop last showed that it is alive.", ["loop"]
)
LOOP_RESTARTS = Counter(
    "kith_loop_restarts_total", "Loops begun again after an outage of a dependency.", ["loop"]
)
LOOP_FAILURES = Counter(
    "kith_loop_failures_total", "Loops that ended on an error that is no outage.", ["loop"]
)
HTTP_REQUEST_SECONDS = Histogram(
    "kith_http_request_seconds",
    "One request, by the template of its route.",
    ["method", "route", "status"],
    buckets=QUICK_S,
)

# --- live streams ----------------------------------------------------------------------------

LIVE_CLIENTS = Gauge("kith_live_clients", "Clients that a live stream has now.", ["stream"])
LIVE_MESSAGES = Counter(
    "kith_live_messages_total", "Messages given to clients, one for each client.", ["stream"]
)
LIVE_RESETS = Counter(
    "kith_live_resets_total",
    "Clients told to read anew, by reason: gone, log-exchanged, unreadable.",
    ["stream", "reason"],
)
LIVE_ENDED = Counter(
    "kith_live_ended_total",
    "Clients that ended, by reason: away, gone, slow, stop, time.",
    ["stream", "reason"],
)
