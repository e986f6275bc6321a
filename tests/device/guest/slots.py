"""Runs in the emulated board: the model that was pushed last, after signature, sha256 and golden scores were found good."""

import json
import sys
from pathlib import Path

from edge.emotion.classify import open_classifier
from edge.update.package import load_public_key
from edge.update.slots import Slots


def main() -> None:
    slots = Slots(Path("/var/lib/emotion-edge/models"), load_public_key(Path("/etc/emotion-edge/owner.pub")))
    pointer = slots.pointer
    answer = {"counter": pointer.counter, "slot": None, "version": None}
    if pointer.committed is not None:
        identity = open_classifier(slots.model(pointer.committed)).manifest.identity
        answer |= {"slot": pointer.committed.slot, "version": pointer.committed.version, "identity": identity}
    print(json.dumps(answer))


if __name__ == "__main__":
    sys.exit(main())
