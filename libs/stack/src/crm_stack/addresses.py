"""The addresses and secrets that a stack keeps for ever, so that a restart moves nothing."""

import base64
import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from crm_stack.errors import StackError
from crm_stack.registry import STATE_FILE, write_private
from crm_stack.server import free_port

_NEEDED_BYTES = 1_000_000_000
_PORTS = 3


@dataclass(frozen=True, slots=True)
class Addresses:
    """Kept in `stack.json` of the stack's folder; `passwords` by service, `more_ports` by use."""

    stack_id: str
    postgres_port: int
    postgres_password: str
    kafka_port: int
    kafka_controller_port: int
    kafka_cluster_id: str
    passwords: Mapping[str, str]
    more_ports: Mapping[str, int] = field(default_factory=dict[str, int])

    def with_port(self, use: str) -> "Addresses":
        """The same with a port for this use; one that was chosen before stays."""
        if use in self.more_ports:
            return self
        taken = {self.postgres_port, self.kafka_port, self.kafka_controller_port}
        taken.update(self.more_ports.values())
        port = free_port()
        while port in taken:
            port = free_port()
        return replace(self, more_ports={**self.more_ports, use: port})


def load(folder: Path) -> Addresses:
    """The addresses of an earlier start in this folder, or new ones.

    Raises:
        StackError: the disk is nearly full, or what an earlier start wrote is unreadable.
    """
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes < _NEEDED_BYTES:
        raise StackError(f"{folder} has {free_bytes // 1_000_000} MB free; the stack needs 1 GB")
    state = folder / STATE_FILE
    try:
        if state.exists():
            return Addresses(**json.loads(state.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise StackError(
            f"{state} cannot be read ({error}); remove {folder} to start anew"
        ) from error
    ports: set[int] = set()
    while len(ports) < _PORTS:  # different ones out of seventeen thousand
        ports.add(free_port())
    postgres_port, kafka_port, controller_port = ports
    addresses = Addresses(
        stack_id=secrets.token_hex(8),
        postgres_port=postgres_port,
        postgres_password=secrets.token_hex(16),
        kafka_port=kafka_port,
        kafka_controller_port=controller_port,
        kafka_cluster_id=base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("="),
        passwords={},
    )
    save(addresses, folder)
    return addresses


def save(addresses: Addresses, folder: Path) -> None:
    write_private(folder / STATE_FILE, asdict(addresses))
