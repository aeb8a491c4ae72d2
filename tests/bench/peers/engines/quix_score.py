"""Quix Streams: a stateful update over RocksDB with a changelog, exactly once."""

from fold import BOOTSTRAP, COMMIT_SECONDS, GROUP, STATE, TOPIC, Marks, fold
from quixstreams import Application

app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=GROUP,
    auto_offset_reset="earliest",
    state_dir=STATE,
    commit_interval=COMMIT_SECONDS,
    loglevel="WARNING",
    processing_guarantee="exactly-once",
    consumer_poll_timeout=0.05,
    consumer_extra_config={"session.timeout.ms": 10_000, "heartbeat.interval.ms": 1_000},
)
marks = Marks()


def score(event, state):
    state.set("s", fold(state.get("s"), event))
    marks.tick()


app.dataframe(app.topic(TOPIC, value_deserializer="json")).update(score, stateful=True)
app.run()
