"""An outbox file in any condition: it is opened or set aside, numbers never go back, and there is one typed error at most."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.delivery import EventDraft
from edge.delivery.outbox import Identity, Outbox
from edge.delivery.salvage import open_outbox
from edge.errors import DeliveryError

DRAFT = EventDraft("new", 1, "happy", 0.9, {"happy": 0.9, "sad": 0.1}, (0.1, 0.1, 0.2, 0.2), 1.0, 2.0, "model")
WRITTEN, INSTALLATION = 50, "abc234"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real outbox of fifty events."""
    folder = tmp_path_factory.mktemp("written")
    identity = Identity(installation=INSTALLATION)
    (folder / "outbox.db").touch()
    outbox = Outbox(folder / "outbox.db", 1000, 1 << 20, 0.0, "boot", identity)
    for _ in range(WRITTEN):
        outbox.add([DRAFT])
    outbox.close()
    return folder / "outbox.db"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outbox")


def reopen(folder: Path, content: bytes) -> Outbox | DeliveryError:
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "outbox.db").write_bytes(content)
    try:
        return open_outbox(folder, replay=False, max_events=1000, max_bytes=1 << 20)
    except DeliveryError as error:
        return error


def use(outbox: Outbox) -> int:
    """Everything that the delivery does with it; returns the next seq."""
    seq = outbox.add([DRAFT])[-1].seq
    outbox.acknowledged([row for row, _ in outbox.unsent(10)], 1.0)
    outbox.replay_held()
    outbox.purge(0.0)
    outbox.close()
    return seq


@given(content=st.binary(max_size=300), header=st.booleans())
def test_any_bytes(folder: Path, content: bytes, header: bool) -> None:
    found = reopen(folder, (b"SQLite format 3\x00" if header else b"") + content)
    if isinstance(found, Outbox):
        assert use(found) > 0


@given(place=st.integers(0, 20_000), data=st.binary(min_size=1, max_size=64))
@example(place=18, data=b"\3")
def test_a_damaged_file(written: Path, folder: Path, place: int, data: bytes) -> None:
    whole = bytearray(written.read_bytes())
    place %= len(whole)
    whole[place : place + len(data)] = data
    found = reopen(folder, bytes(whole))
    if isinstance(found, Outbox):
        assert use(found) > 0


@given(length=st.integers(0, 20_000))
def test_a_file_that_was_cut_short_never_gives_an_id_twice(written: Path, folder: Path, length: int) -> None:
    content = written.read_bytes()
    found = reopen(folder, content[: length % len(content)])
    assert isinstance(found, Outbox)
    (event,) = found.add([DRAFT])
    found.close()
    assert event.seq > WRITTEN or not event.id.startswith(INSTALLATION)
