import contextlib
import hashlib
import json
import threading

import pytest
from crm_stack import jars
from crm_stack.errors import StackError


@pytest.fixture
def empty_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
    monkeypatch.setattr(
        "jgo.config.GlobalSettings.load",
        lambda: type("Settings", (), {"repo_cache": tmp_path / "repository"}),
    )
    return tmp_path


def put_jar(repository, content):
    jar = repository / "org" / "example" / "tool" / "1.0" / "tool-1.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(content)
    return jar


def pin(monkeypatch, content):
    sha256 = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(jars, "_pinned", lambda: {"org.example:tool:1.0": sha256})


def test_a_jar_that_is_there_is_used_without_network(empty_machine, monkeypatch):
    jar = put_jar(empty_machine / "repository", b"jar")
    pin(monkeypatch, b"jar")

    assert jars.kafka_classpath() == str(jar)


def test_a_hashed_jar_is_not_hashed_again(empty_machine, monkeypatch):
    jar = put_jar(empty_machine / "repository", b"jar")
    pin(monkeypatch, b"jar")
    jars.kafka_classpath()
    monkeypatch.setattr(jars, "_fetch", lambda pinned: pytest.fail("asked again"))

    assert jars.kafka_classpath() == str(jar)


def test_two_that_start_first_at_once_download_once(empty_machine, monkeypatch):
    pin(monkeypatch, b"jar")
    fetched = []
    both_at_it = threading.Barrier(2)

    def fetch(pinned):
        fetched.append(pinned)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_at_it.wait(0.5)
        return [put_jar(empty_machine / "repository", b"jar")]

    monkeypatch.setattr(jars, "_fetch", fetch)
    paths = []
    both = [threading.Thread(target=lambda: paths.append(jars.kafka_classpath())) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()

    assert len(fetched) == 1
    assert len(paths) == 2
    assert paths[0] == paths[1]


def test_a_jar_that_is_not_the_pinned_one_is_thrown_away(empty_machine, monkeypatch):
    jar = put_jar(empty_machine / "repository", b"half a j")
    pin(monkeypatch, b"jar")
    monkeypatch.setattr(
        "jgo.util.http.requests.request", lambda *_, **__: (_ for _ in ()).throw(OSError("away"))
    )

    with pytest.raises(StackError, match=r"cannot be downloaded: OSError at org\.example:tool"):
        jars.kafka_classpath()

    assert not jar.exists()


def test_every_jar_is_pinned_by_a_sha256():
    pinned = jars._pinned()

    assert len(json.loads(json.dumps(pinned))) == 46
    assert all(len(sha256) == 64 for sha256 in pinned.values())
    assert "org.apache.kafka:kafka_2.13:4.1.0" in pinned
