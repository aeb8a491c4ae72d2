"""Who runs which servers on this account: a start clears what a killed run left, nothing else."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Generator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO

import platformdirs

from crm_stack import processes
from crm_stack.errors import StackError
from crm_stack.processes import ProcessId

TEMPORARY_PREFIX = "kith-stack-"
STATE_FILE = "stack.json"
_LOCK_SECONDS = 60.0
_LOCK_AGAIN_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Entry:
    """One stack: its folders, its servers, and whether it outlives the process that started it."""

    stack_id: str
    folder: Path
    postgres_folder: Path
    temporary: bool
    detached: bool
    owner_pid: int
    servers: dict[str, ProcessId] = field(default_factory=dict)


class Seat:
    """A stack's place in the registry, held by a file lock that ends with the process.

    A lock, not the owner's pid, says that the owner lives: the kernel lets go of it however the
    process dies, and nobody else can come to hold it by chance.
    """

    def __init__(self, entry: Entry, lock: IO[str] | None) -> None:
        """`lock` is None for a detached stack, which nobody owns."""
        self._entry = entry
        self._lock = lock
        self._writing = threading.Lock()

    @property
    def entry(self) -> Entry:
        return self._entry

    def started(self, name: str, process: ProcessId) -> None:
        with self._writing:
            servers = {**self._entry.servers, name: process}
            self._entry = replace(self._entry, servers=servers)
            _write(self._entry)

    def detach(self) -> None:
        """The servers stay when this process ends."""
        with self._writing:
            self._entry = replace(self._entry, detached=True)
            _write(self._entry)
        self._release()

    def leave(self) -> None:
        """Forget the stack: its servers are stopped."""
        with registered():
            _forget(self._entry)
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = None


@contextlib.contextmanager
def registered() -> Generator[None]:
    """Hold the registry: starts and clearings come one after the other."""
    with (_folder() / "lock").open("a") as lock:
        turn = threading.Event()
        for _ in range(int(_LOCK_SECONDS / _LOCK_AGAIN_SECONDS)):
            if _locked(lock):
                break
            turn.wait(_LOCK_AGAIN_SECONDS)
        else:
            raise StackError(f"another start has held {lock.name} for {_LOCK_SECONDS:.0f} s")
        yield


def take_seat(entry: Entry) -> Seat:
    """Enter the stack as ours; inside `registered()`, with its folder known to be free."""
    lock = _lock_file(entry.stack_id).open("a")
    if not _locked(lock):
        lock.close()
        raise StackError(f"the stack in {entry.folder} is just being started by another process")
    _write(entry)
    return Seat(entry, lock)


def clear() -> None:
    """End what dead owners left: their servers, and their folder if it was a temporary one."""
    for entry in _entries():
        if entry.detached:
            continue
        with _lock_file(entry.stack_id).open("a") as lock:
            if _locked(lock):
                for name, process in entry.servers.items():
                    processes.discard(name, process)
                if entry.temporary:
                    remove_temporary(entry)
                _forget(entry)


def entry_for(folder: Path) -> Entry | None:
    """The stack that runs in `folder`, if one does."""
    return next((entry for entry in _entries() if entry.folder == folder), None)


def temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix=TEMPORARY_PREFIX)).resolve()
    if os.geteuid() == 0:
        folder.chmod(0o711)  # PostgreSQL's user passes through
    return folder


def given_folder(data: Path) -> Path:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StackError(f"{data} cannot hold the servers' data: {error.strerror}") from error
    return data.resolve()


def remove_temporary(entry: Entry) -> None:
    """Remove a temporary stack's folders, if they are what we once made."""
    state = entry.folder / STATE_FILE
    with contextlib.suppress(OSError, ValueError, KeyError):
        ours = json.loads(state.read_text())["stack_id"] == entry.stack_id
        if ours and entry.folder.name.startswith(TEMPORARY_PREFIX):
            if entry.postgres_folder.name == f"postgres-{entry.stack_id}":
                shutil.rmtree(entry.postgres_folder, ignore_errors=True)
            shutil.rmtree(entry.folder, ignore_errors=True)


def write_private(path: Path, content: object) -> None:
    """Replace a JSON file as a whole, readable by its owner only."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as half:  # mode 0600
        json.dump(content, half, indent=1)
    Path(half.name).replace(path)


def _folder() -> Path:
    folder = platformdirs.user_state_path("kith") / "stacks"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StackError(f"{folder} cannot be made: {error.strerror}") from error
    return folder


def _lock_file(stack_id: str) -> Path:
    return _folder() / f"{stack_id}.lock"


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(entry: Entry) -> None:
    content = asdict(entry) | {
        "folder": str(entry.folder),
        "postgres_folder": str(entry.postgres_folder),
    }
    write_private(_folder() / f"{entry.stack_id}.json", content)


def _forget(entry: Entry) -> None:
    (_folder() / f"{entry.stack_id}.json").unlink(missing_ok=True)
    _lock_file(entry.stack_id).unlink(missing_ok=True)


def _entries() -> list[Entry]:
    return [entry for path in sorted(_folder().glob("*.json")) if (entry := _read(path))]


def _read(path: Path) -> Entry | None:
    """None for a file that a newer or older release wrote: it is not ours to clear."""
    try:
        content = json.loads(path.read_text())
        return Entry(
            stack_id=content["stack_id"],
            folder=Path(content["folder"]),
            postgres_folder=Path(content["postgres_folder"]),
            temporary=content["temporary"],
            detached=content["detached"],
            owner_pid=content["owner_pid"],
            servers={
                name: ProcessId(process["pid"], process["born"])
                for name, process in content["servers"].items()
                if processes.is_known(name)
            },
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
