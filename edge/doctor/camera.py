"""Whether the source of the pictures is there, may be used, gives what is asked of it, and gives a frame."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit

from edge.camera import DEMO, is_device, is_live, is_ribbon, is_stream
from edge.config import CameraSettings, Settings
from edge.doctor import v4l2
from edge.doctor.finding import Finding, Findings, broken, failed, good, skipped, warning
from edge.doctor.person import READ, WRITE, Person, runner
from edge.doctor.processes import edge_runs, holders
from edge.errors import CameraError, EmotionEdgeError

# A raw ribbon sensor shows as a V4L2 device too, whose pictures nobody has made visible yet: the driver tells (the kernel's
# bcm2835-unicam and rp1-cfe, NVIDIA's tegra-video).
RAW_SENSORS = {"unicam": "pi", "bcm2835-unicam": "pi", "rp1-cfe": "pi", "tegra-video": "csi"}
PROGRAMS = {"pi": ("rpicam-vid", "libcamera-vid"), "csi": ("gst-launch-1.0",)}
PACKAGES = {"pi": "sudo apt-get install rpicam-apps-lite", "csi": "sudo apt-get install gstreamer1.0-tools nvidia-l4t-gstreamer"}
ARGUS = "tmp/argus_socket"
PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
# A camera in the same house answers within a second.
CONNECT_TIMEOUT = 5.0
# A rate that differs by less is the same (29.97).
SAME_RATE = 0.05


def check(settings: Settings, root: Path = Path("/")) -> Findings:
    """From the plug to a frame; what edge-run holds is left alone."""
    camera = settings.camera
    source = camera.source
    if is_device(source):
        found = list(device(camera, root))
    elif is_ribbon(source):
        found = list(ribbon(source, root))
    elif is_stream(source):
        found = list(stream(source))
    else:
        found = []
    yield from found
    if not any(finding.verdict in ("broken", "skipped") for finding in found):
        yield frame(camera, root)


def device(camera: CameraSettings, root: Path = Path("/")) -> Findings:
    """A V4L2 device: there, allowed, a camera, not in use, with the size and rate that are asked for."""
    path = device_path(camera.source, root)
    if not path.exists():
        remedy = "connect it (lsusb shows what the board sees), or set camera.source to one that is there"
        yield broken("camera.device", f"{path} is not there; there are {_cameras(root)}", remedy)
        return
    person = runner(root)
    try:
        may = person.may(path, READ | WRITE)
    except PermissionError:
        may = True
    if not may:
        remedy = f"sudo usermod -aG video {person.name}, then log in again or restart the service"
        yield broken("camera.device", f"{person.name} may not use {path}", remedy)
        return
    yield from _asked(camera, path, person, root)
    yield from _stable(camera.source, root)
    yield from in_use(path, root)


def _asked(camera: CameraSettings, path: Path, person: Person, root: Path) -> Findings:
    try:
        # Opening alone is no use of a V4L2 device: it goes on giving pictures to whoever holds it.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        yield skipped("camera.device", f"{path} is there; {person.name} may use it, you may not", "run the doctor with sudo")
        return
    except OSError as error:
        yield broken(
            "camera.device", f"{path} cannot be opened ({error.strerror})", "unplug it and plug it in again; dmesg | tail"
        )
        return
    try:
        yield from answers(camera, path, v4l2.ask_device(descriptor), root)
    finally:
        os.close(descriptor)


def answers(camera: CameraSettings, path: Path, ask: v4l2.Ask, root: Path = Path("/")) -> Findings:
    """What the driver says of itself, its formats, sizes and rates."""
    who = v4l2.capability(ask)
    if who is None:
        yield broken("camera.device", f"{path} is no V4L2 device", f"name a camera as camera.source; there are {_cameras(root)}")
        return
    if not who.captures:
        text = f"{path} ({who.card}) gives no pictures: one camera has several devices"
        yield broken("camera.device", text, f"name another one as camera.source; there are {_cameras(root)}")
        return
    if who.driver in RAW_SENSORS:
        text = f"{path} ({who.card}) is a ribbon camera, whose pictures are raw here"
        yield broken("camera.device", text, f'set camera.source = "{RAW_SENSORS[who.driver]}"')
        return
    yield good("camera.device", f"{path} is {who.card} ({who.driver}, {who.bus})")
    yield formats(camera, v4l2.formats(ask, who.planes), ask)


def formats(camera: CameraSettings, offered: tuple[v4l2.Format, ...], ask: v4l2.Ask) -> Finding:
    """Hold what a camera offers against what is asked of it."""
    wanted = f"{camera.width}x{camera.height}"
    if not offered:
        return warning("camera.formats", "the driver lists no formats", "look at the frame below; another size may be given")
    told = "; ".join(f"{format_.code} {', '.join(map(str, format_.sizes)) or 'any size'}" for format_ in offered)
    fitting = [f for f in offered if not f.sizes or any(size.holds(camera.width, camera.height) for size in f.sizes)]
    if not fitting:
        remedy = "set camera.width and camera.height to a size that it has; else it chooses one itself"
        return warning("camera.formats", f"no {wanted}; it has {told}", remedy)
    rates = {format_.code: v4l2.fastest(ask, format_.code, camera.width, camera.height) for format_ in fitting}
    best = max((rate for rate in rates.values() if rate is not None), default=None)
    shown = ", ".join(f"{code}{'' if rate is None else f' at up to {rate:g} frames/s'}" for code, rate in rates.items())
    if best is not None and best < camera.fps * (1 - SAME_RATE):
        remedy = "lower camera.fps, or choose a smaller size; poor light alone halves many cameras' rate"
        return warning("camera.formats", f"{wanted} as {shown}, not {camera.fps:g} frames/s", remedy)
    return good("camera.formats", f"{wanted} as {shown}")


def ribbon(source: str, root: Path = Path("/")) -> Findings:
    """A camera at the board's own connector: the program that reads it, and its daemon."""
    kind = source.partition(":")[0]
    program = next((name for name in PROGRAMS[kind] if shutil.which(name)), None)
    if program is None:
        yield broken("camera.device", f"{PROGRAMS[kind][0]} is not installed, which reads this camera", PACKAGES[kind])
        return
    if kind == "csi" and not (root / ARGUS).exists():
        remedy = "sudo systemctl restart nvargus-daemon; it is part of JetPack"
        yield broken("camera.device", f"NVIDIA's camera daemon does not run (no /{ARGUS})", remedy)
        return
    yield good("camera.device", f"read by {shutil.which(program)}")


def stream(url: str) -> Findings:
    """A network camera: name and port. Its url is shown without user, password and query."""
    from edge.camera.stream import without_secrets

    try:
        shown, parts = without_secrets(url), urlsplit(url)
    except CameraError as error:
        yield broken("camera.device", str(error), "correct camera.source")
        return
    try:
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme.lower()]
        with socket.create_connection((host, port), timeout=CONNECT_TIMEOUT):
            yield good("camera.device", f"{shown} answers on port {port}")
    except ValueError:
        yield broken("camera.device", f"{shown} has no usable port", "correct camera.source")
    except socket.gaierror as error:
        yield broken(
            "camera.device", f"{shown}: the name cannot be resolved ({error.strerror})", "correct it, or use its address"
        )
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror
        yield broken("camera.device", f"{shown}: {reason}", "check its power, cable and address (ping), and the port")


def in_use(path: Path, root: Path = Path("/")) -> Findings:
    """Who holds the device; edge-run may, others may not."""
    for process in holders(path, root):
        if process.is_edge_run:
            yield good("camera.use", f"in use by {process}")
        else:
            yield warning("camera.use", f"in use by {process}; edge-run cannot have it then", f"end it: kill {process.pid}")


def frame(camera: CameraSettings, root: Path = Path("/")) -> Finding:
    """Open the source as edge-run does, and take a frame; not while edge-run may be using it."""
    busy = edge_runs(root) if is_live(camera.source) else []
    if is_device(camera.source):
        busy = busy or holders(device_path(camera.source, root), root)
    if busy:
        return skipped("camera.frame", f"not tried: {busy[0]} is running", "stop it to try the camera here")
    # Imported here: this is the only check of a camera that wants OpenCV.
    from edge.camera import open_camera

    try:
        opened = open_camera(camera)
    except EmotionEdgeError as error:
        return failed("camera.frame", error, "correct camera.source")
    try:
        return good("camera.frame", f"{'a frame came' if camera.source != DEMO else 'the demo runs'}: {opened.describe()}")
    finally:
        opened.close()


def device_path(source: str, root: Path = Path("/")) -> Path:
    """`0` -> /dev/video0; a path as it is."""
    return root / (f"dev/video{source}" if source.isdecimal() else source.lstrip("/"))


def _stable(source: str, root: Path) -> Findings:
    """Numbers are given in the order in which cameras are found, which changes."""
    if not source.startswith(("/dev/video", *"0123456789")):
        return
    path = device_path(source, root)
    named = [link for link in sorted((root / "dev/v4l/by-id").glob("*")) if os.path.realpath(link) == os.path.realpath(path)]
    others = [link for link in (root / "dev/v4l/by-id").glob("*") if link not in named]
    if named and others:
        text = f"{path} may be another camera after a restart: there are several"
        yield warning("camera.name", text, f'set camera.source = "{named[0]}"')


def _cameras(root: Path) -> str:
    """Names that stay the same first; they are those of devices that give pictures."""
    stable = sorted(str(path) for path in (root / "dev/v4l/by-id").glob("*-index0"))
    return ", ".join(stable or sorted(str(path) for path in (root / "dev").glob("video*"))) or "none"
