from __future__ import annotations

from tests.bench.topics import bytes_in


def test_of_a_topic_that_was_deleted_and_made_anew_only_the_new_one_is_weighed(tmp_path):
    for folder, size in (
        ("contacts.purchases-0", 300),
        ("contacts.purchases-11", 20),
        ("contacts.purchases-0.0f5c1f0e6d0b4c1a9b635a0c1f7d2e48-delete", 7_000),
        ("contacts.people-0", 50_000),
    ):
        (tmp_path / "data" / folder).mkdir(parents=True)
        (tmp_path / "data" / folder / "00000000000000000000.log").write_bytes(b"0" * size)

    assert bytes_in(tmp_path, "contacts.purchases") == 320
