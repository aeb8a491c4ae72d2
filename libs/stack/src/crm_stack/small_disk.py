"""A disk of a few megabytes under a server's data, so that it can be full: tmpfs, root only."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from crm_stack.errors import StackError
from crm_stack.server import Server

_PREFIX, _MAKING = "kith-disk-", "kith-making-disk-"
_MOUNT_SECONDS = 10
_BALLAST = "ballast"
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system that `fill` leaves without a free byte."""

    folder: Path

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def fill(self) -> None:
        """Take all the room there is; what servers write from now on fails with ENOSPC."""
        with (self.folder / _BALLAST).open("ab", buffering=0) as ballast, suppress(OSError):
            while ballast.write(bytes(_MEGABYTE)):
                pass

    def free(self) -> None:
        """Give the room back."""
        (self.folder / _BALLAST).unlink(missing_ok=True)


def can_mount() -> bool:
    """Whether `small_disk` will work here: it takes root, which a container's may not be enough."""
    if os.geteuid() != 0:
        return False
    try:
        with small_disk(1):
            return True
    except StackError:
        return False


@contextmanager
def small_disk(megabytes: int) -> Generator[SmallDisk]:
    """Mount a disk of this size, and unmount it.

    A run that is killed leaves its disk mounted; the next one takes it away.

    Raises:
        StackError: we may not mount.
    """
    _clear()
    made = Path(tempfile.mkdtemp(prefix=_MAKING))
    made.chmod(0o711)  # servers that do not run as root pass through
    with (made / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only what is locked already gets the name by which another run looks for what is left.
        place = made.rename(made.with_name(made.name.replace(_MAKING, _PREFIX, 1)))
        folder = place / "disk"
        folder.mkdir()
        try:
            size = f"size={megabytes * _MEGABYTE},mode=0711"
            _run("mount", "-t", "tmpfs", "-o", size, "kith", str(folder))
            yield SmallDisk(folder)
        finally:
            _take_away(place)


@contextmanager
def lying_on(disk: SmallDisk, server: Server) -> Generator[None]:
    """Stop the server, start it with its data on the disk, and bring them back in the end.

    For stacks in a temporary folder: the data of a run that is killed meanwhile are gone. While
    they lie there the disk's room must suffice for the server to start and to stop; make it so
    with `free` before this ends.
    """
    home = server.data
    _move(server, disk.folder / "data")
    try:
        yield
    finally:
        _move(server, home)


def size_megabytes(folder: Path) -> int:
    """What lies in the folder, rounded up."""
    taken = 0
    for place in folder.rglob("*"):
        with suppress(FileNotFoundError):  # a server that runs removes files
            taken += place.lstat().st_blocks * 512
    return taken // _MEGABYTE + 1


def _move(server: Server, to: Path) -> None:
    server.stop()
    # mv, not copytree: it keeps owners, and the holes in Kafka's index files
    _run("mv", str(server.data), str(to), within_seconds=120)
    server.data = to
    server.start()


def _clear() -> None:
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError), (place / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _take_away(place)


def _take_away(place: Path) -> None:
    if (place / "disk").is_mount():
        # lazily: a server that still runs on it keeps what it has open until it ends
        _run("umount", "--lazy", str(place / "disk"))
    shutil.rmtree(place, ignore_errors=True)


def _run(*command: str, within_seconds: float = _MOUNT_SECONDS) -> None:
    try:
        done = subprocess.run(  # noqa: S603  # our own command, no shell
            command, check=False, capture_output=True, text=True, timeout=within_seconds
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode:
        raise StackError(f"{command[0]} failed: {done.stderr.strip():.300}")
