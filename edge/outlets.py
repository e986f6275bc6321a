"""Where that goes which the analysis has seen: events to the delivery, pictures to the album, all of it to the page."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from edge.delivery import Delivery, EventDraft, Problem, State
from edge.snapshots import Snapshots
from edge.types import Emotion, Frame, TrackedFace

Faces = Sequence[tuple[TrackedFace, Emotion | None]]


class Page(Protocol):
    """Whatever shows frames to a person."""

    def frame(self, frame: Frame, faces: Faces) -> None:
        """Take a frame and what is known of its faces."""

    def state(self, state: State) -> None:
        """Take who is there."""


class Outlets:
    """Takes what was seen and hands it on; returns at once, whatever the broker or the disk does.

    The state is told by two threads: the analysis knows who is there, the supervisor what is wrong.
    """

    def __init__(self, delivery: Delivery, state: State, snapshots: Snapshots | None = None, page: Page | None = None) -> None:
        """Tell the first state.

        Args:
            delivery: gets events and the state.
            state: who is there at the beginning: nobody.
            snapshots, page: where the owner asked for them.
        """
        self._delivery, self._snapshots, self._page = delivery, snapshots, page
        self._shown: dict[int, str] = {}
        self._wanted: dict[int, str] = {}
        self._lock = threading.Lock()
        self._state = state
        self._tell(state)

    @property
    def state(self) -> State:
        """What was told last."""
        return self._state

    def seen(self, frame: Frame, faces: Faces, drafts: Sequence[EventDraft], searched: bool) -> None:
        """A frame is through; what has happened in it is for `told`.

        Args:
            searched: faces were looked for in it, and not only followed.
        """
        if self._page is not None:
            self._page.frame(frame, faces)
        if self._snapshots is not None:
            self._keep(self._snapshots, frame, faces, drafts, searched)

    def told(self, drafts: Sequence[EventDraft], state: State) -> None:
        """Something has happened; `state` is who is there now."""
        if not drafts:
            return
        for draft in drafts:
            if draft.type == "end":
                self._shown.pop(draft.track, None)
                self._wanted.pop(draft.track, None)
        self._delivery.put(drafts)
        with self._lock:
            self._tell(replace(state, paused=self._state.paused, problems=self._state.problems))

    def model(self, identity: str) -> None:
        """Another model speaks from now on."""
        with self._lock:
            self._tell(replace(self._state, model=identity))

    def condition(self, paused: bool, problems: tuple[Problem, ...]) -> None:
        """How the device is; told when it has changed."""
        with self._lock:
            if (paused, problems) != (self._state.paused, self._state.problems):
                self._tell(replace(self._state, paused=paused, problems=problems))

    def _tell(self, state: State) -> None:
        self._state = state
        self._delivery.set_state(state)
        if self._page is not None:
            self._page.state(state)

    def _keep(self, snapshots: Snapshots, frame: Frame, faces: Faces, drafts: Sequence[EventDraft], searched: bool) -> None:
        for draft in drafts:
            # An update at the end of an interval says nothing new.
            if draft.type != "end" and self._shown.get(draft.track) != draft.emotion:
                self._shown[draft.track] = self._wanted[draft.track] = draft.emotion
        # Only a frame in which faces were looked for: in another one somebody may stand whom nobody would blur.
        if searched and self._wanted:
            for track, emotion in self._wanted.items():
                snapshots.take(frame.image, [tracked.face for tracked, _ in faces], frame.at, f"track{track}-{emotion}")
            self._wanted.clear()
