"""The page in a real browser: what it shows came from the frames that were fed, and everybody can read it."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np
import pytest
from brokers import wait_for
from browser import CONTRAST, Browser, find_chromium
from numpy.typing import NDArray
from previewing import LABELS, STATE, STATS, ShiftedClock, emotion, face, frame, listen, port_of, portrait, two_minutes

from edge.preview import Preview
from edge.types import Emotion, TrackedFace

Opener = Callable[..., Preview]
Seen = list[tuple[TrackedFace, Emotion | None]]

HOSTILE = "<img src=x onerror=window.hacked=1>"
TWO: Seen = [(face(1, 190, 175, 130, roll=0.1), emotion("happy", 0.83)), (face(2, 450, 175, 130), emotion("neutral", 0.61))]

# Everything that a person would stumble over, as a list of sentences.
AUDIT = (
    "(() => {"
    + CONTRAST
    + """
  const found = [], root = document.documentElement;
  let words = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length || element.closest("title, noscript, .unseen, #boxes")) continue;
    words += 1;
    const below = ground(element), style = getComputedStyle(element);
    const figure = contrast(over(rgb(element instanceof SVGElement ? style.fill : style.color), below), below);
    if (!(figure >= 4.5)) found.push(`contrast ${figure.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
    const { left, right } = element.getBoundingClientRect();
    if (left < -1 || right > innerWidth + 1) found.push(`beyond the window: ${element.textContent.slice(0, 40)}`);
  }
  if (words < 40) found.push(`only ${words} elements with words`);
  if (root.scrollWidth > innerWidth) found.push(`wider than the window: ${root.scrollWidth}`);
  for (const tile of document.querySelectorAll(".tiles dd"))
    if (tile.scrollWidth > tile.clientWidth + 1) found.push(`tile too small: ${tile.textContent}`);
  for (const row of document.querySelectorAll(".words, #axis")) {
    const boxes = [...row.querySelectorAll("text")].map(text => [text.getBoundingClientRect(), text.textContent]);
    boxes.sort((a, b) => a[0].left - b[0].left);
    boxes.slice(1).forEach(([box, word], i) => { if (box.left < boxes[i][0].right) found.push(`${boxes[i][1]} meets ${word}`); });
  }
  if (document.querySelectorAll(".band").length && ![...document.querySelectorAll(".band")].every(each => each.clientHeight > 20))
    found.push("a lane without height");
  for (const svg of document.querySelectorAll("svg:not([aria-hidden])"))
    if (!svg.getAttribute("aria-label")) found.push("a drawing without a name");
  if (window.hacked) found.push("hacked");
  return found;
})()"""
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("chromium is not installed; scripts/test installs it (Debian: apt-get install chromium)")
    with Browser(program) as started:
        yield started


@pytest.fixture
def browser(chromium: Browser, preview: Opener) -> Iterator[Browser]:
    """Leaves the page before the preview stops: what it says to that is not the next test's."""
    yield chromium
    chromium.open("about:blank")


@contextmanager
def _playing(shown: Preview, faces: Seen = TWO, image: NDArray[np.uint8] | None = None) -> Iterator[None]:
    """An analysis that goes on, fifteen frames a second."""
    over = threading.Event()
    picture = portrait() if image is None else image

    def play() -> None:
        number = 1000
        while not over.wait(1 / 15):
            number += 1
            shown.frame(frame(number, picture), faces)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _until(browser: Browser, script: str, patience: float = 30.0) -> None:
    end = time.monotonic() + patience
    while not browser.run(script):
        assert time.monotonic() < end, (script, browser.run("document.body.innerText"), browser.complaints)
        time.sleep(0.1)


def _text(browser: Browser, selector: str) -> str:
    return str(browser.run(f"document.querySelector({json.dumps(selector)}).innerText"))


def _says(selector: str, text: str) -> str:
    return f"document.querySelector({json.dumps(selector)}).innerText.includes({json.dumps(text)})"


@pytest.mark.parametrize("pictures", [False, True])
def test_everybody_can_read_it_in_both_schemes_narrow_and_wide(
    browser: Browser, preview: Opener, clock: ShiftedClock, pictures: bool
):
    shown = preview(pictures=pictures)
    two_minutes(shown, clock, portrait())
    grounds = {}
    with _playing(shown):
        for scheme in ("light", "dark"):
            for width in (360, 800, 1600):
                browser.open(shown.address, width, scheme=scheme)
                _until(browser, _says("#present", "Two faces: one happy, one neutral"))
                _until(browser, _says("#measured", "counted here"))
                if pictures:
                    _until(browser, "document.querySelectorAll('#boxes text').length === 2")
                assert browser.run(AUDIT) == [], (scheme, width)
                assert browser.complaints == []
                assert {re.sub(r"^blob:", "", address).startswith(shown.address) for address in browser.requests} == {True}
            grounds[scheme] = browser.run("getComputedStyle(document.body).backgroundColor")
        assert any("/picture" in address for address in browser.requests) == pictures
    light, dark = ([int(part) for part in re.findall(r"\d+", grounds[scheme])] for scheme in ("light", "dark"))
    assert min(light) > 200
    assert max(dark) < 60


def test_what_it_shows_came_from_the_frames_and_figures_that_were_fed(browser: Browser, preview: Opener, clock: ShiftedClock):
    shown = preview()
    two_minutes(shown, clock)
    with _playing(shown):
        browser.open(shown.address, 1600)
        _until(browser, _says("#lanes", "83 %"))
        lanes = browser.run(
            "[...document.querySelectorAll('.lane')].map(lane => [lane.querySelector('b').textContent, "
            "lane.querySelector('.sure').textContent, lane.className, "
            "[...lane.querySelectorAll('.area')].map(area => area.getAttribute('class').slice(5))])"
        )
        first, second, third = lanes
        assert first == ["happy", "83 %", "lane", ["e6", "e3", "e5", "e3", "e3", "doubtful", "e3"]]
        # The first second of a face is not settled yet.
        assert second == ["neutral", "61 %", "lane", ["none", "e4", "e6", "e6", "e0", "e6"]]
        assert third[0] == "disgust"
        assert third[1:3] == ["", "lane gone"]
        # Six seconds without pictures are 5 % of the line.
        missing = browser.run(
            "[...document.querySelectorAll('#axis line.missing')].map(l => (l.x2.baseVal.value - l.x1.baseVal.value)"
            " / document.querySelector('#axis').clientWidth)"
        )
        assert len(missing) == 1
        assert 0.045 < missing[0] < 0.056
        names = browser.run("[...document.querySelectorAll('#legend li')].map(each => each.textContent)")
        assert names == [*LABELS, "uncertain"]
        tiles = _text(browser, "#tiles")
        for figure in (
            "21 ms",
            "p95 35 ms, p99 52 ms",
            "12",
            "of 53,292; 1 in the queue",
            "412 delivered, 0 lost",
            "58 °C",
            "73 MB",
        ):
            assert figure in tiles
        _until(browser, "Math.abs(parseFloat(document.querySelector('#fps').textContent) - 14) < 5")
        facts = _text(browser, "#facts")
        for fact in (
            "micro 1.0.0 ab12cd34",
            "640 × 480, opened again once",
            "one frame of 3",
            "2 h",
            "agrees on 93.4 % of 1,200",
        ):
            assert fact in facts
        assert _text(browser, "#verdict") == "All is well."
        assert browser.run("document.title") == "Two faces: one happy, one neutral · kitchen"
        assert browser.complaints == []
    # The analysis has stopped: nobody is claimed to be there.
    _until(browser, _says("#present", "No pictures"))
    _until(browser, _says("#verdict", "No picture for"))
    assert browser.run("document.querySelectorAll('.lane:not(.gone)').length") == 0


@pytest.mark.parametrize(
    ("faces", "said"),
    [
        ([], "Nobody is here"),
        ([(face(1), emotion("sad", 0.7))], "One face, sad"),
        ([(face(n), emotion("happy", 0.7)) for n in range(1, 4)], "Three faces, all happy"),
        ([(face(n), emotion("happy", 0.7)) for n in range(1, 16)], "15 faces, all happy"),
        ([(face(1), None)], "One face, not settled"),
        ([(face(1), emotion("uncertain", 0.3)), (face(2), None)], "Two faces: one uncertain, one not settled"),
        ([(face(n), emotion(LABELS[n // 2], 0.7)) for n in range(14)], "14 faces: two angry, two disgust, two fear, eight other"),
    ],
)
def test_one_sentence_says_who_is_there(browser: Browser, preview: Opener, faces: Seen, said: str):
    shown = preview()
    with _playing(shown, faces):
        browser.open(shown.address, 360)
        _until(browser, _says("#present", said))
        assert browser.run("document.querySelectorAll('.lane').length") == min(len(faces), 10)
        assert (f"and {len(faces) - 10} more" in _text(browser, "main")) == (len(faces) > 10)
        assert browser.complaints == []


def test_what_is_wrong_is_said_in_words_and_taken_back(browser: Browser, preview: Opener):
    shown = preview()
    busy = msgspec.structs.replace(STATS, throttled=True, events=msgspec.structs.replace(STATS.events, waiting=1234))
    with _playing(shown):
        browser.open(shown.address, 360)
        _until(browser, _says("#verdict", "All is well."))
        for state, stats, chip, told in (
            (
                msgspec.structs.replace(STATE, problems=("camera", "storage")),
                STATS,
                "Trouble",
                ["gives no pictures", "cannot be stored"],
            ),
            (msgspec.structs.replace(STATE, paused=True), STATS, "Paused", ["Paused by a command"]),
            (STATE, busy, "Look here", ["slows itself down", "1,234 events wait"]),
            (STATE, STATS, "Look here", ["broker is not reached"]),
            (STATE, STATS, "Live", ["All is well."]),
        ):
            shown.broker("broker is not reached" not in told)
            shown.state(state)
            shown.stats(stats)
            _until(browser, _says("#link", chip))
            for words in told:
                _until(browser, _says("#verdict", words))
            assert browser.run(AUDIT) == []
        assert browser.complaints == []


def test_names_that_mean_harm_are_only_names(browser: Browser, preview: Opener):
    labels = (
        HOSTILE,
        '"><script>hacked=1</script>',
        "悲しみと怒りと喜びと驚き",
        "x" * 120,
        "joy",
        "Contempt",
        "fear",
        "a",
        "b",
        "c",
    )
    shown = preview(device=HOSTILE, labels=labels, model=HOSTILE)
    shown.stats(STATS)
    shown.state(msgspec.structs.replace(STATE, model=HOSTILE, version=HOSTILE))
    faces: Seen = [(face(n), emotion(label, 0.6, labels)) for n, label in enumerate(labels, 1)]
    with _playing(shown, faces):
        browser.open(shown.address, 360)
        _until(browser, _says("#present", "Ten faces"))
        assert browser.run(AUDIT) == []
        assert browser.complaints == []
        assert _text(browser, "h1") == HOSTILE
        colours = browser.run("[...document.querySelectorAll('#legend rect')].map(each => each.getAttribute('class'))")
        # Ten labels have ten looks, and what is known keeps its colour.
        assert len(set(colours)) == 11
        assert (colours[4], colours[6]) == ("e3", "e2")


def test_it_finds_the_service_again_after_a_restart_and_says_so(browser: Browser, preview: Opener):
    shown = preview()
    with _playing(shown, [(face(31), emotion("happy", 0.8))]):
        browser.open(shown.address, 800)
        _until(browser, _says("#lanes", "Face 31"))
        shown.stop()
        _until(browser, _says("#notice", "The device does not answer. Trying again"))
        assert _text(browser, "#link") == "No answer"
        assert _text(browser, "#present") == "Not known at the moment"
    again = preview(port=port_of(shown))
    with _playing(again, [(face(1), emotion("sad", 0.8))]):
        _until(browser, _says("#notice", "The service was started anew at"))
        _until(browser, _says("#present", "One face, sad"))
        assert "Face 31" not in _text(browser, "#lanes")


def test_a_ninth_page_is_told_why_it_waits_and_gets_the_next_place(browser: Browser, preview: Opener):
    shown = preview()
    others = [listen(shown)[0] for _ in range(8)]
    browser.open(shown.address, 360)
    _until(browser, _says("#notice", "As many pages as the device can serve"))
    for connection in others:
        connection.close()
    _until(browser, "document.querySelector('#notice').hidden && document.querySelector('h1').textContent === 'kitchen'")


def test_the_token_becomes_a_cookie_that_no_script_sees_and_leaves_the_address(browser: Browser, preview: Opener, tmp_path: Path):
    token = "f" * 32
    (tmp_path / "token").write_text(token)
    shown = preview(token_file=str(tmp_path / "token"))
    with _playing(shown):
        browser.open(shown.address)
        assert "asks for a token" in _text(browser, "body")
        browser.open(f"{shown.address}?token={token}")
        _until(browser, _says("#present", "Two faces"))
        assert browser.run("location.href") == shown.address
        assert browser.run("document.cookie") == ""
        browser.open(shown.address)
        _until(browser, _says("#present", "Two faces"))
        assert browser.complaints == []


def test_the_picture_has_its_boxes_where_the_faces_are(browser: Browser, preview: Opener):
    shown = preview(pictures=True)
    with _playing(shown, TWO, np.full((360, 640, 3), (40, 160, 80), np.uint8)):
        browser.open(shown.address, 1280)
        _until(browser, "document.querySelectorAll('#boxes text').length === 2")
        pixel = browser.run(
            "(() => { const image = document.querySelector('#image'), canvas = document.createElement('canvas');"
            " [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];"
            " const brush = canvas.getContext('2d'); brush.drawImage(image, 0, 0);"
            " return [canvas.width, canvas.height, ...brush.getImageData(300, 300, 1, 1).data]; })()"
        )
        assert pixel[:2] == [640, 360]
        assert np.abs(np.subtract(pixel[2:5], (80, 160, 40))).max() <= 4
        boxes = browser.run(
            "[...document.querySelectorAll('#boxes .box')].map(box => { const a = box.getBoundingClientRect(),"
            " b = document.querySelector('#image').getBoundingClientRect();"
            " return [(a.x + a.width / 2 - b.x) / b.width, (a.y + a.height / 2 - b.y) / b.height]; })"
        )
        assert np.allclose(boxes, [(190 / 640, 175 / 360), (450 / 640, 175 / 360)], atol=0.01)
        assert [*browser.run("[...document.querySelectorAll('#boxes text')].map(t => t.textContent)")] == [
            "happy · 1",
            "neutral · 2",
        ]
        assert "Two faces" in _text(browser, "#present")
        assert browser.run("document.querySelector('#image').alt") == "The camera's picture, 2 faces marked"
        assert browser.complaints == []


def test_the_past_can_be_walked_through_by_keys_alone(browser: Browser, preview: Opener, clock: ShiftedClock):
    shown = preview()
    two_minutes(shown, clock)
    with _playing(shown):
        browser.open(shown.address, 1280)
        _until(browser, _says("#present", "Two faces"))

        def press(key: str, times: int = 1) -> None:
            for _ in range(times):
                for kind in ("rawKeyDown", "keyUp"):
                    browser.call(
                        "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=9 if key == "Tab" else 0
                    )

        press("Tab")
        assert browser.run("document.activeElement.id") == "timeline"
        assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        press("PageUp", 3)
        press("ArrowLeft", 2)
        press("ArrowRight")
        _until(browser, _says("#readout", "31 s ago: Face 1 "))
        assert re.fullmatch(r"31 s ago: Face 1 \w+ \d+ %, Face 2 (neutral|angry) \d+ %", _text(browser, "#readout"))
        assert browser.run("document.querySelectorAll('.cursor').length") == 3
        assert browser.run(AUDIT) == []
        press("Escape")
        assert browser.run("document.querySelectorAll('.cursor').length") == 0


def test_a_screen_reader_hears_of_changes_only_and_who_wants_no_motion_has_less(browser: Browser, preview: Opener):
    shown = preview()
    with _playing(shown):
        counts = {}
        for motion in ("no-preference", "reduce"):
            browser.open(shown.address, 800)
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": motion}])
            _until(browser, _says("#present", "Two faces"))
            _until(browser, _says("#tiles", "Memory"))
            assert browser.run("document.querySelector('#present').ariaLive") == "polite"
            counts[motion] = browser.run(
                "new Promise(done => { const seen = { lanes: 0, said: 0 };"
                " for (const id of ['lanes', 'present', 'verdict', 'link', 'notice'])"
                "  new MutationObserver(() => { seen[id === 'lanes' ? id : 'said'] += 1; }).observe(document.getElementById(id),"
                "   { childList: true, characterData: true, subtree: id !== 'lanes' });"
                " setTimeout(() => done(seen), 4000); })"
            )
        assert counts["no-preference"]["said"] == counts["reduce"]["said"] == 0
        assert counts["reduce"]["lanes"] < counts["no-preference"]["lanes"] / 2


@pytest.mark.parametrize(
    ("harm", "noticed"),
    [
        ("document.querySelector('#measured').style.color = '#999'", "contrast"),
        ("document.querySelector('footer').style.width = '2000px'", "beyond the window"),
        ("document.querySelector('#axis').style.width = '100px'", "meets"),
        ("document.querySelector('#tiles dd').style.width = '5px'", "tile too small"),
        ("document.body.append(document.createElementNS('http://www.w3.org/2000/svg', 'svg'))", "without a name"),
        (
            "document.body.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))",
            "Content Security Policy",
        ),
        ("document.querySelector('footer').setAttribute('style', 'color: red')", "Content Security Policy"),
        ("document.body.append(Object.assign(new Image(), {src: 'http://127.0.0.1:9/x.png'}))", "Content Security Policy"),
        ("fetch('http://127.0.0.1:9/').catch(() => 0)", "Content Security Policy"),
    ],
)
def test_the_browser_notices_what_is_wrong_with_the_page(
    browser: Browser, preview: Opener, clock: ShiftedClock, harm: str, noticed: str
):
    shown = preview()
    two_minutes(shown, clock)
    with _playing(shown):
        browser.open(shown.address, 1280)
        _until(browser, _says("#tiles", "Memory"))
        _until(browser, _says("#measured", "counted here"))
        assert browser.run(AUDIT) == []
        browser.run(f"void ({harm})")
        # Some of it shows once the page has drawn itself anew.
        wait_for(lambda: any(noticed in each for each in (*browser.run(AUDIT), *browser.complaints)), 20, noticed)


# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB: no red cones, no green, no blue.
BLINDNESS = {
    "everybody": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
# Linear RGB -> OKLab (Ottosson 2020), in which 0.02 is a difference that is just seen.
TO_LMS = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_LAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def _nearest(colours: list[str], blindness: str) -> float:
    """How far apart the two most alike are."""
    coded = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(BLINDNESS[blindness]), 0, 1)
    lab = np.cbrt(seen @ np.transpose(TO_LMS)) @ np.transpose(TO_LAB)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    return float(apart[np.triu_indices(len(colours), 1)].min())


def test_the_colours_stay_apart_for_people_who_see_no_red_no_green_or_no_blue():
    style = resources.files("edge.preview").joinpath("page.css").read_text("utf-8")
    palettes = [re.findall(r"--e\d: (#[0-9a-f]{6});", block) for block in style.split("prefers-color-scheme: dark")]
    assert [len(palette) for palette in palettes] == [7, 7]
    for palette in palettes:
        for blindness in BLINDNESS:
            assert _nearest(palette, blindness) > 0.1, (palette, blindness)
    # A red and a green of one lightness, as on many a chart.
    assert _nearest(["#c44e52", "#55a868"], "everybody") > 0.1 > _nearest(["#c44e52", "#8a8a3c"], "deuteranopia")
