"""Several Kafka nodes as one cluster: brought up together, hurt one by one or all at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from crm_stack.kafka import Kafka


class KafkaCluster:
    """Nodes that are broker and controller each; a majority of them makes a quorum.

    What is said of the cluster is done to every node at the same time: a node alone would wait for
    the others before it answers.
    """

    def __init__(self, nodes: Sequence[Kafka]) -> None:
        self.nodes = tuple(nodes)

    @property
    def bootstrap(self) -> str:
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def running(self) -> bool:
        return all(node.running for node in self.nodes)

    @property
    def paused(self) -> bool:
        return any(node.paused for node in self.nodes)

    def node(self, node_id: int) -> Kafka:
        """The node of this id, as topic metadata names it."""
        return next(node for node in self.nodes if node.node_id == node_id)

    def install(self) -> None:
        """Fetch what is missing, as one node does."""
        self.nodes[0].install()

    def start(self) -> None:
        self._each(Kafka.start)

    def stop(self) -> None:
        self._each(Kafka.stop)

    def kill(self) -> None:
        self._each(Kafka.kill)

    def pause(self) -> None:
        self._each(Kafka.pause)

    def resume(self) -> None:
        self._each(Kafka.resume)

    def restart(self) -> None:
        self.stop()
        self.start()

    def restore(self) -> None:
        """Make every node answer again after whatever was done to it."""
        self._each(Kafka.resume)
        self._each(Kafka.restore)

    def _each(self, what: Callable[[Kafka], None]) -> None:
        with ThreadPoolExecutor(len(self.nodes), thread_name_prefix="crm-stack") as pool:
            for done in [pool.submit(what, node) for node in self.nodes]:
                done.result()
