"""Bytewax: a stateful step whose snapshots hold state and offsets; every state goes out."""

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from fold import BOOTSTRAP, OUT, TOPIC, Marks, fold

marks = Marks()


class Score(StatefulBatchLogic):
    def __init__(self, state):
        self.state = state

    def on_batch(self, events):
        out = []
        for event in events:
            self.state = fold(self.state, event)
            out.append(self.state)
        marks.tick(len(events))
        return out, StatefulBatchLogic.RETAIN

    def snapshot(self):
        return self.state  # each fold makes a new list


def pair(message):
    event = orjson.loads(message.value)
    return event["customer"], event


flow = Dataflow("score")
source = op.input("in", flow, KafkaSource([BOOTSTRAP], [TOPIC], tail=True, batch_size=1_000))
scored = op.stateful_batch("score", op.map("pair", source, pair), Score)
told = op.map("told", scored, lambda kv: KafkaSinkMessage(kv[0].encode(), orjson.dumps(kv[1])))
op.output("out", told, KafkaSink([BOOTSTRAP], OUT, add_config={"linger.ms": "5"}))
