"""The ring is bounded: live frames are young, a replay's are whole."""

from __future__ import annotations

import threading
import time

import numpy as np

from edge.camera.ring import Ring
from edge.types import Frame

BLACK = np.zeros((1, 1, 3), np.uint8)


def frame(number: int) -> Frame:
    return Frame(BLACK, number, float(number), float(number))


def numbers(ring: Ring) -> list[int]:
    return [got.number for got in iter(lambda: ring.get(0), None) if got is not None]


def test_live_frames_push_the_oldest_out_and_are_counted() -> None:
    ring = Ring(3)
    for number in range(10):
        ring.push(frame(number))
    ring.close()
    assert ring.dropped == 7
    assert numbers(ring) == [7, 8, 9]
    assert ring.get(10) is None
    assert ring.ended


def test_a_replay_waits_for_room_and_loses_nothing() -> None:
    ring = Ring(3)
    assert all(ring.offer(frame(number), 0) for number in range(3))
    assert not ring.offer(frame(3), 0.01)
    taker = threading.Timer(0.05, ring.get, [0])
    taker.start()
    assert ring.offer(frame(3), 5)
    taker.join()
    assert numbers(ring) == [1, 2, 3]
    assert ring.dropped == 0


def test_an_empty_ring_times_out() -> None:
    ring, start = Ring(), time.monotonic()
    assert ring.get(0.1) is None
    assert 0.09 < time.monotonic() - start < 1
    assert not ring.ended


def test_a_closed_ring_takes_nothing_more_and_lets_everybody_go() -> None:
    ring = Ring(1)
    ring.push(frame(0))
    threading.Timer(0.05, ring.close).start()
    assert not ring.offer(frame(1), 5)
    ring.push(frame(2))
    assert numbers(ring) == [0]
    assert ring.ended
