"""Does Kafka answer? Asked without a client, which would go on trying for longer than a probe may.

Source: https://kafka.apache.org/protocol, ApiVersions in version 0, which every broker answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import Final

LONGEST_ANSWER_S: Final = 1.0
_LENGTH: Final = 4
_ASKED: Final = struct.pack(">ihhih", 10, 18, 0, 1, -1)  # length, what, version, number, no name


async def kafka_answers(bootstrap: str) -> bool:
    """Does one of the servers, "host:port[,host:port]", answer within a second?"""
    return any(await asyncio.gather(*map(_answers, bootstrap.split(","))))


async def _answers(server: str) -> bool:
    host, _, port = server.strip().rpartition(":")
    try:
        async with asyncio.timeout(LONGEST_ANSWER_S):
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            with contextlib.closing(writer):
                writer.write(_ASKED)
                await reader.readexactly(_LENGTH)
                return True
    except (OSError, EOFError):
        return False
