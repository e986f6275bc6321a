"""What YuNet finds in a picture, as JSON; runs on board and workstation alike."""

import json
import sys
from pathlib import Path

import numpy as np

from edge.faces.yunet import CANDIDATES, OVERLAP, open_network


def main(weights: str, picture: str) -> None:
    network = open_network(Path(weights), "tflite", 1)
    rows = network.rows(np.load(picture), 0.5, OVERLAP, CANDIDATES)
    print(json.dumps({"network": network.name, "rows": rows.tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
