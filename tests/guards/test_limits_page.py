"""libs/README.md names, for each limit, the constant that holds it: it is where the page says."""

from __future__ import annotations

import re
from pathlib import Path

LIBS = Path(__file__).resolve().parents[2] / "libs"
PAGE = LIBS / "README.md"
NAMED = re.compile(
    r"(?P<names>`[A-Z_]+`(?:, `[A-Z_]+`)*) in `(?P<lib>[a-z]+)/(?P<module>[\w/]+\.py)`"
)


def misplaced(page: str) -> list[str]:
    """The constants that a page names and that are not in the module it names them in."""
    lost: list[str] = []
    places = list(NAMED.finditer(page))
    assert places, "the page names no constant"
    for place in places:
        module = LIBS / place["lib"] / "src" / f"crm_{place['lib']}" / place["module"]
        code = module.read_text() if module.exists() else ""
        names = re.findall(r"[A-Z_]+", place["names"])
        lost += [name for name in names if not re.search(rf"^{name}\b.* = ", code, re.MULTILINE)]
    return lost


def test_every_limit_that_the_page_names_is_there():
    assert misplaced(PAGE.read_text()) == []


def test_a_limit_that_is_elsewhere_is_found():
    page = "`LOCK_WAIT_S`, `SESSION` in `store/migrations/__init__.py`; `POLL_S` in `store/gone.py`"

    assert misplaced(page) == ["LOCK_WAIT_S", "SESSION", "POLL_S"]
