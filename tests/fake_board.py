"""What rpicam-vid and gst-launch-1.0 do on a board, as a small real program: real arguments in, real pictures out.

Run as `python fake_board.py rpicam-vid …` by the programs that `boards.Board` puts on the PATH. It knows the options and
elements that the real ones have and refuses everything else, as they do. Files in $FAKE_BOARD are what is wrong with the board.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from pathlib import Path

BOARD = Path(os.environ["FAKE_BOARD"])
# The left half is red, the right half blue: Y, Cb, Cr in full range (JFIF), and B, G, R.
RED, BLUE = (76, 85, 255), (29, 255, 107)
RED_BGR, BLUE_BGR = b"\x00\x00\xff", b"\xff\x00\x00"


def wrong(what: str) -> bool:
    return (BOARD / what).exists()


def main(program: str, arguments: list[str]) -> int:
    with (BOARD / "started").open("a") as started:
        started.write(f"{os.getpid()}\n")
    signal.signal(signal.SIGINT, give_back)
    return rpicam_vid(arguments) if program in ("rpicam-vid", "libcamera-vid") else gst_launch(arguments)


def give_back(*_: object) -> None:
    """Both end cleanly on SIGINT."""
    (BOARD / "given-back").touch()
    os._exit(0)


def rpicam_vid(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--codec", choices=["yuv420"], required=True)
    parser.add_argument("--output", choices=["-"], required=True)
    parser.add_argument("--timeout", type=int, choices=[0], required=True)
    parser.add_argument("--flush", action="store_true", required=True)
    parser.add_argument("--nopreview", action="store_true", required=True)
    for option, kind in (("--camera", int), ("--width", int), ("--height", int), ("--framerate", float)):
        parser.add_argument(option, type=kind, required=True)
    given = parser.parse_args(arguments)
    if wrong("absent") or given.camera > 0:
        print("ERROR: *** no cameras available ***", file=sys.stderr)
        return 255
    width, height = (320, 240) if wrong("adjusts") else (given.width, given.height)
    told = f"[0:00:01.2] [7] INFO Camera camera.cpp:1197 configuring streams: (0) {width}x{height}-YUV420/sYCC"
    print(told, file=sys.stderr, flush=True)
    # Rows are padded: to 64 bytes by the Pi 4; by the Pi 5 those of the colours are, and those of the brightness to twice that.
    stride = -(-(width // 2) // 64) * 128 if wrong("pi5") else -(-width // 64) * 64

    def row(halves: tuple[int, int], pixels: int, length: int) -> bytes:
        return (bytes(halves[:1]) * (pixels // 2) + bytes(halves[1:]) * (pixels // 2)).ljust(length, b"\xee")

    luma = row((RED[0], BLUE[0]), width, stride)
    colours = [row((RED[i], BLUE[i]), width // 2, stride // 2) * (height // 2) for i in (1, 2)]
    return give(1, given.framerate, lambda n: b"".join([bytes([n]) * stride, luma * (height - 1), *colours]))


def gst_launch(arguments: list[str]) -> int:
    elements = [part.split() for part in " ".join(argument for argument in arguments if argument != "--quiet").split(" ! ")]
    source, sensor, converted, queue, sink = elements[0], elements[1][0], elements[3][0], elements[4], elements[5]
    caps = r"video/x-raw\(memory:NVMM\),width=(\d+),height=(\d+),format=NV12,framerate=(\d+)/(\d+)"
    asked = re.fullmatch(caps, sensor)
    known = [source[0], elements[2], queue[0], sink[0]] == ["nvarguscamerasrc", ["nvvidconv"], "queue", "fdsink"]
    if not known or asked is None or converted != f"video/x-raw,width={asked[1]},height={asked[2]},format=BGRx":
        print("WARNING: erroneous pipeline: syntax error", file=sys.stderr)
        return 1
    # It does print this to standard output, whatever else goes there.
    print("GST_ARGUS: Creating output stream", flush=True)
    if wrong("absent") or source[1] != "sensor-id=0":
        print("Error generated. gstnvarguscamerasrc.cpp, execute:740 No cameras available", flush=True)
        return 1
    width, height = int(asked[1]), int(asked[2])
    row = (RED_BGR + b"x") * (width // 2) + (BLUE_BGR + b"x") * (width // 2)
    descriptor = int(sink[1].removeprefix("fd="))
    return give(descriptor, int(asked[3]) / int(asked[4]), lambda n: bytes([n]) * len(row) + row * (height - 1))


def give(descriptor: int, rate: float, picture: object) -> int:
    number = 0
    while True:
        while wrong("frozen"):
            time.sleep(0.01)
        number += not wrong("still")
        if wrong("chatty"):
            print("#1 (30.00 fps) exp 33239.00 ag 1.00 dg 1.00" * 100, file=sys.stderr, flush=True)
        data = picture(number % 256)
        if wrong("half") and number == 3:
            os.write(descriptor, data[: len(data) // 2])
            print("ERROR: Device timeout detected", file=sys.stderr)
            return 1
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        time.sleep(1 / rate)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
