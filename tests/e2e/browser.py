"""Chromium without a window, driven over its DevTools protocol: pages as somebody sees them."""

from __future__ import annotations

import base64
import itertools
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Self

import httpx
import orjson
from websockets.sync.client import connect

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS: Final = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-port=0"
)
WITHIN_SECONDS: Final = 60.0


class Browser:
    """One page. Made on a profile of its own; a context manager that ends what it started."""

    def __init__(self, profile: Path) -> None:
        self._profile = profile
        self._numbers = itertools.count(1)
        self._failed: list[str] = []
        self._loads = 0
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={self._profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._cleanup.callback(self._end)
        told = self._profile / "DevToolsActivePort"
        try:
            _wait(lambda: told.exists() and "\n" in told.read_text(), "Chromium did not start")
            port = told.read_text().split()[0]
            pages = httpx.get(f"http://127.0.0.1:{port}/json", timeout=30).json()
            url = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
            self._socket = self._cleanup.enter_context(
                connect(url, max_size=None, compression=None)
            )
            self._ask("Runtime.enable")
            self._ask("Page.enable")
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    @property
    def failed(self) -> list[str]:
        """Exceptions that no script caught."""
        self.run("1")  # what was told before is read by now
        return self._failed

    def open(self, url: str) -> None:
        """Show a page; its scripts have begun when this returns."""
        for each in ("about:blank", url):  # another fragment alone would load nothing
            loads = self._loads
            self._ask("Page.navigate", url=each)
            while self._loads == loads:
                self._receive()

    def looks(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Have the page look so from now on."""
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, expression: str) -> Any:
        """What it comes to in the page, as JSON."""
        told = self._ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def wait(self, expression: str) -> Any:
        """What it comes to, as soon as that is something."""
        return _wait(lambda: self.run(expression), f"not within {WITHIN_SECONDS} s: {expression}")

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body.innerText"))

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot")["data"]))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._socket.send(orjson.dumps({"id": number, "method": method, "params": params}).decode())
        while (told := self._receive()).get("id") != number:
            pass
        assert "error" not in told, told
        return told["result"]

    def _receive(self) -> dict[str, Any]:
        told = orjson.loads(self._socket.recv(WITHIN_SECONDS))
        self._loads += told.get("method") == "Page.loadEventFired"
        if told.get("method") == "Runtime.exceptionThrown":
            self._failed.append(str(told["params"]["exceptionDetails"]))
        return told

    def _end(self) -> None:
        self._process.terminate()
        self._process.wait(30)


def _wait(ask: Any, otherwise: str) -> Any:
    deadline = time.monotonic() + WITHIN_SECONDS
    while time.monotonic() < deadline:
        if found := ask():
            return found
        time.sleep(0.05)  # noqa: TID251  # a page sets no event here
    raise AssertionError(otherwise)
