"""What a V4L2 device says it can do, by its own ioctls: v4l2-ctl is not on every board.

Structs and numbers are those of linux/videodev2.h, which are the same on every 64-bit Linux.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from collections.abc import Callable, Iterator

import msgspec

# VIDIOC_QUERYCAP, _ENUM_FMT, _ENUM_FRAMESIZES, _ENUM_FRAMEINTERVALS, which hold the sizes of their structs (asm-generic/ioctl.h).
QUERYCAP, ENUM_FMT, ENUM_FRAMESIZES, ENUM_FRAMEINTERVALS = 0x80685600, 0xC0405602, 0xC02C564A, 0xC034564B
# driver, card, bus_info, version, capabilities, device_caps, reserved
CAPABILITY = struct.Struct("=16s32s32sIII12x")
# index, type, flags, description, pixelformat, mbus_code, reserved
FORMAT = struct.Struct("=III32s4sI12x")
# index, pixel_format, type, then a size or smallest width, largest width, step, the same of the height; reserved
FRAME_SIZE = struct.Struct("=I4sI6I8x")
# index, pixel_format, width, height, type, then an interval or the shortest, the longest and the step; reserved
FRAME_INTERVAL = struct.Struct("=I4sIII6I8x")

CAPTURE, CAPTURE_PLANES, OWN_CAPABILITIES = 0x1, 0x1000, 0x8000_0000
BUFFER_CAPTURE, BUFFER_CAPTURE_PLANES = 1, 9
DISCRETE = 1
# No camera has more formats or sizes; a driver that never says "no more" shall not keep us.
MOST = 256

# An ioctl: request and struct -> the struct as the driver has filled it; None when there is no such entry.
Ask = Callable[[int, bytes], bytes | None]


class Capability(msgspec.Struct, frozen=True):
    """Attributes: card is its name for people; planes tells the multi-planar interface from the older one."""

    driver: str
    card: str
    bus: str
    captures: bool
    planes: bool


class Size(msgspec.Struct, frozen=True):
    """Frames in pixels: one size where smallest and largest are the same, else all between them."""

    smallest: tuple[int, int]
    largest: tuple[int, int]

    def holds(self, width: int, height: int) -> bool:
        """Whether frames of this size are among them."""
        return self.smallest[0] <= width <= self.largest[0] and self.smallest[1] <= height <= self.largest[1]

    def __str__(self) -> str:
        small, large = (f"{width}x{height}" for width, height in (self.smallest, self.largest))
        return small if small == large else f"{small} to {large}"


class Format(msgspec.Struct, frozen=True):
    """One pixel format, such as MJPG or YUYV, and its sizes."""

    code: str
    sizes: tuple[Size, ...]


def ask_device(descriptor: int) -> Ask:
    """The ioctls of an open device."""

    def ask(request: int, content: bytes) -> bytes | None:
        buffer = bytearray(content)
        try:
            fcntl.ioctl(descriptor, request, buffer, True)
        except OSError as error:
            # The end of a list, a list that this driver does not keep, and no V4L2 device at all.
            if error.errno in (errno.EINVAL, errno.ENOTTY, errno.ENODATA):
                return None
            raise
        return bytes(buffer)

    return ask


def capability(ask: Ask) -> Capability | None:
    """Who this is; None where it is no V4L2 device."""
    answer = ask(QUERYCAP, bytes(CAPABILITY.size))
    if answer is None:
        return None
    driver, card, bus, _, whole, own = CAPABILITY.unpack(answer)
    # One card has several devices; what this one does stands in its own field.
    bits = own if whole & OWN_CAPABILITIES else whole
    return Capability(_text(driver), _text(card), _text(bus), bool(bits & (CAPTURE | CAPTURE_PLANES)), not bits & CAPTURE)


def formats(ask: Ask, planes: bool) -> tuple[Format, ...]:
    """Pixel formats in the driver's order, each with its sizes."""
    kind = BUFFER_CAPTURE_PLANES if planes else BUFFER_CAPTURE
    found = []
    for answer in _all(ask, ENUM_FMT, lambda index: FORMAT.pack(index, kind, 0, b"", b"", 0)):
        code = FORMAT.unpack(answer)[4]
        found.append(Format(_text(code), tuple(_sizes(ask, code))))
    return tuple(found)


def fastest(ask: Ask, code: str, width: int, height: int) -> float | None:
    """Most frames a second of a format and size; None where the driver does not tell."""
    rates = []
    for answer in _all(
        ask,
        ENUM_FRAMEINTERVALS,
        lambda index: FRAME_INTERVAL.pack(index, code.encode("latin-1"), width, height, 0, *(0,) * 6),
    ):
        # The first of a range is the shortest interval, so the highest rate.
        numerator, denominator = FRAME_INTERVAL.unpack(answer)[5:7]
        if numerator:
            rates.append(denominator / numerator)
    return max(rates, default=None)


def _sizes(ask: Ask, code: bytes) -> Iterator[Size]:
    for answer in _all(ask, ENUM_FRAMESIZES, lambda index: FRAME_SIZE.pack(index, code, 0, *(0,) * 6)):
        _, _, kind, a, b, _, c, d, _ = FRAME_SIZE.unpack(answer)
        yield Size((a, b), (a, b)) if kind == DISCRETE else Size((a, c), (b, d))
        if kind != DISCRETE:
            return


def _all(ask: Ask, request: int, content: Callable[[int], bytes]) -> Iterator[bytes]:
    for index in range(MOST):
        answer = ask(request, content(index))
        if answer is None:
            return
        yield answer


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode("latin-1").strip()
