"""Several Kafka nodes as one cluster: brought up together, hurt one by one or all at once."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from crm_stack import registry
from crm_stack.addresses import Addresses
from crm_stack.kafka import Kafka, Seat


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


def known_with_ports(known: Addresses, nodes: int, *, proxied: bool) -> Addresses:
    """The same with the ports that so many nodes need, chosen once and kept."""
    for node_id in range(1, nodes + 1):
        if node_id > 1:
            known = known.with_port(f"kafka-{node_id}").with_port(f"kafka-{node_id}-controller")
        if proxied:
            known = known.with_port(f"kafka-{node_id}-proxied")
    return known


def native_kafka(
    seat: registry.Seat,
    known: Addresses,
    *,
    nodes: int,
    proxy_ports: Sequence[int],
    options: Sequence[str],
) -> Kafka | KafkaCluster:
    """The stack's broker, or brokers, as processes of ours."""
    kafkas = [
        Kafka(
            seat.entry.folder / place.name,
            seat=place,
            cluster_id=known.kafka_cluster_id,
            process=seat.entry.servers.get(place.name),
            started=seat.started,
            options=options,
        )
        for place in _seats(known, nodes, proxy_ports)
    ]
    return kafkas[0] if nodes == 1 else KafkaCluster(kafkas)


def _seats(known: Addresses, nodes: int, proxy_ports: Sequence[int]) -> list[Seat]:
    """A seat for each node; with `proxy_ports`, one per node, each listens for a proxy too."""
    first = {"kafka-1": known.kafka_port, "kafka-1-controller": known.kafka_controller_port}
    ports = {**first, **known.more_ports}
    ids = range(1, nodes + 1)
    controllers = {node_id: ports[f"kafka-{node_id}-controller"] for node_id in ids}
    told = dict(zip(ids, proxy_ports, strict=True)) if proxy_ports else {}
    return [
        Seat(
            ports[f"kafka-{node_id}"],
            controllers,
            node_id,
            (ports[f"kafka-{node_id}-proxied"], told[node_id]) if told else None,
        )
        for node_id in ids
    ]
