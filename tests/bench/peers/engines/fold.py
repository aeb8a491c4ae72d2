"""The fold that every engine runs, and the marks by which the bench sees how far it is."""

import math
import os
import time

BOOTSTRAP = os.environ["PEER_BOOTSTRAP"]
TOPIC = os.environ["PEER_TOPIC"]
GROUP = os.environ["PEER_GROUP"]  # consumer group, application id
STATE = os.environ["PEER_STATE"]  # a folder that stays over a restart
OUT = os.environ.get("PEER_OUT", "")
COMMIT_SECONDS = float(os.environ["PEER_COMMIT_SECONDS"])

HALF_LIFE_MS = 30 * 86_400_000.0
WEIGHTS = {"page": 0.5, "track": 1.0, "open": 1.0, "click": 3.0, "visit": 5.0, "order": 20.0}
MARK_EVERY = 2_000


def fold(state, event):
    """[count, cents, score, last]: a late event decays by its lateness."""
    weight, at = WEIGHTS[event["type"]], event["occurred_at"]
    if not state:
        return [1, event["value"], weight, at]
    count, cents, score, last = state
    count, cents = count + 1, cents + event["value"]
    if at >= last:
        return [count, cents, score * math.exp((last - at) / HALF_LIFE_MS) + weight, at]
    return [count, cents, score + weight * math.exp((at - last) / HALF_LIFE_MS), last]


class Marks:
    """Writes `P <events seen by this process> <time>` for the first and every 2,000th event."""

    def __init__(self):
        self._seen = 0

    def tick(self, more=1):
        before, self._seen = self._seen, self._seen + more
        if before == 0 or before // MARK_EVERY != self._seen // MARK_EVERY:
            os.write(1, f"P {self._seen} {time.time()}\n".encode())
