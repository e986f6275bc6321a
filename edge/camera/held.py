"""Readers that a driver holds and does not let go: how many, and for how long, until only a new process can help."""

from __future__ import annotations

from edge.camera.reader import Reader

# So many held readers are left behind; each keeps a thread and perhaps the device.
MOST_HELD = 3
# Without a frame for so long while a reader is held: it is we ourselves who hold the device, seconds.
HELD_LIMIT = 60.0


class Held:
    """The readers of one source that were left behind.

    Args:
        keeps_device: whether a held one keeps others from the source. That of a stream does not: it may only wait for a name
            server.
    """

    def __init__(self, keeps_device: bool) -> None:
        self._keeps_device = keeps_device
        self._readers: list[Reader] = []

    def add(self, reader: Reader) -> None:
        """Leave one behind."""
        self._readers.append(reader)

    def fatal(self, blind: float, trouble: str) -> str | None:
        """Why only a new process can help: there are too many, or one keeps the device. Those that came back are forgotten.

        Args:
            blind: seconds without a frame.
            trouble: what is wrong with the source, one sentence.
        """
        self._readers = [reader for reader in self._readers if not reader.ended.is_set()]
        held = len(self._readers)
        if held < MOST_HELD and not (held and self._keeps_device and blind > HELD_LIMIT):
            return None
        return f"the camera's driver holds {held} of our threads and does not let go ({trouble}); only a new process can help"
