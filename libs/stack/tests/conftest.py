import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture
def data():
    """A folder that PostgreSQL's user may enter, as it may not enter pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="kith-data-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
