"""report.html: complete and harmless by its text, and looked at in a real browser in both schemes, narrow and wide."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from browser import CONTRAST, Browser, find_chromium

from converters.cli.convert import main
from converters.compress.sensitivity import LayerNoise
from converters.datasets import FER2013_LABELS
from converters.proof.compare import Check
from converters.proof.evaluate import Confidence
from converters.proof.markup import tag
from converters.proof.page import page
from converters.proof.report import Attempt, Pruned, Report
from converters.proof.svg import scale

# The network answers by chance: what is asked here is what the page says of it.
LENIENT = ["--max-drop", "100", "--min-agreement", "0"]
IMPOSSIBLE = ["--max-drop", "-100", "--min-agreement", "0"]
HOSTILE = "<script>window.hacked=1</script>"
NAMES = (HOSTILE, '"><img src=x onerror=hacked=1>', "a\x00b\x1b[31m", "\udcff", "悲しみと怒りと喜びと驚き", "x" * 200, "&amp;'")


@pytest.fixture(scope="module")
def conversions(kept: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with what edge-convert left of a small network: `passed`, `unproven` and `failed`."""
    folder = tmp_path_factory.mktemp("pages")
    chance = np.random.default_rng(5)
    for name in FER2013_LABELS:
        (folder / "faces" / name).mkdir(parents=True)
        for number in range(20):
            cv2.imwrite(str(folder / "faces" / name / f"{number}.png"), chance.integers(0, 256, (24, 24), np.uint8))
    data, formats = ["--data", str(folder / "faces")], ["--int8", "--fp16"]
    for kind, argv, status in (
        ("passed", [*formats, "--onnx", *data, *LENIENT, "--thumbnails", "--samples", "60"], 0),
        ("unproven", formats, 0),
        ("failed", [*formats, *data, *IMPOSSIBLE], 1),
    ):
        assert (
            main([*argv, str(kept / "model.keras"), "-o", str(folder / kind), "--mean", "127.5", "--scale", "0.00784"]) == status
        )
    return {kind: folder / kind for kind in ("passed", "unproven", "failed")}


def _reports(folder: Path) -> list[Report]:
    paths = [path for tag_ in ("int8", "fp16", "onnx", "qdq") for path in sorted(folder.glob(f"model.{tag_}*report.json"))]
    return [msgspec.json.decode(path.read_bytes(), type=Report) for path in paths]


def _text(content: bytes) -> str:
    """Every word of a page, which also has to be well-formed."""
    root = ET.fromstring(content)
    words = " ".join(
        text for element in root.iter() if element.tag != "style" for text in [element.text or "", element.tail or ""]
    )
    return re.sub(r"\s+", " ", words)


def _hostile(reports: list[Report]) -> list[Report]:
    """The most that a report can hold: six formats, seventy layers, some in float, and names that are meant to do harm."""
    made = []
    for number, name in enumerate(("int8", "fp16", "dynamic", "fp32", "onnx-fp32", "onnx-int8")):
        report = reports[0]

        def renamed(figures: Any) -> Any:
            recall = dict(zip(NAMES, [*list(figures.recall.values())[:6], None], strict=True))
            # One class always right: the deepest shade that a cell can have.
            confusion = [[5, *[0] * 6], *figures.confusion[1:]]
            return msgspec.structs.replace(figures, recall=recall, confusion=confusion)

        layers = tuple(
            LayerNoise(f"{HOSTILE}{i}", "CONV_2D", 150.0 if i == 9 else 40 - i / 3, 30 + i % 7, i in (3, 40)) for i in range(70)
        )
        made.append(
            msgspec.structs.replace(
                report,
                format_name=name,
                labels=NAMES,
                source=msgspec.structs.replace(report.source, file=f"{HOSTILE}.keras"),
                artifact=msgspec.structs.replace(report.artifact, file=f"{HOSTILE}{name}.tflite", bytes=123_456_789),
                command=f"edge-convert '{HOSTILE}'",
                preprocessing=HOSTILE,
                warnings=(HOSTILE, "x" * 300),
                notes=(HOSTILE, f"only {name}"),
                reference=renamed(report.reference),
                converted=msgspec.structs.replace(renamed(report.converted), bytes=123_456_789 + number, latency_ms=None),
                confidence=Confidence(1.25, "fitted", 3000, 0.07, 0.02, 1.2, 1.1),
                gate=(Check(f"recall drop of {HOSTILE}", 4.0, 3.0, number > 0, "points, standard error 0.56"),),
                verdict="passed" if number else "failed",
                pruned=Pruned(0.3, 1000, 600, 2),
                layers=layers if number == 0 else (),
                in_float=(f"{HOSTILE}3", f"{HOSTILE}40") if number == 0 else (),
                before_in_float=Attempt("failed", 100, 0.5, 0.9) if number == 0 else None,
            )
        )
    return made


def test_one_page_lies_beside_the_artifacts_and_alone_beside_a_failure(conversions: dict[str, Path]):
    for kind, name in (
        ("passed", "model.report.html"),
        ("unproven", "model.report.html"),
        ("failed", "model.failed.report.html"),
    ):
        pages = [path.name for path in conversions[kind].glob("*.html")]
        assert pages == [name]
    left = sorted(path.name for path in conversions["failed"].iterdir())
    assert left == [f"model.{what}failed.report.{end}" for what, end in (("", "html"), ("fp16.", "json"), ("int8.", "json"))]


def test_a_page_that_is_there_is_kept_unless_forced_and_a_failed_one_is_cleared_away(
    kept: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    argv = ["--fp32", str(kept / "model.keras"), "-o", str(tmp_path)]
    (tmp_path / "model.fp32.report.html").write_text("mine")
    assert main(argv) == 2
    assert "model.fp32.report.html: exists already; add --force" in capfd.readouterr().err
    assert (tmp_path / "model.fp32.report.html").read_text() == "mine"
    (tmp_path / "model.fp32.failed.report.html").write_text("of an earlier failure")
    assert main([*argv, "--force"]) == 0
    assert [path.name for path in tmp_path.glob("*.html")] == ["model.fp32.report.html"]
    assert "model.fp32.tflite" in (tmp_path / "model.fp32.report.html").read_text()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("passed", ["Passed. It may be deployed.", "all 4 are as good as the original", "onnx-int8", "calibration error before"]),
        ("unproven", ["Unproven. Measure it before you deploy it.", "so accuracy, recall and confusion are unknown", "made-up"]),
        (
            "failed",
            ["Failed. There is nothing to deploy.", "int8 failed the gate: accuracy drop is", "allowed −100.00", "not kept"],
        ),
    ],
)
def test_the_page_says_in_words_what_came_of_it(conversions: dict[str, Path], kind: str, said: list[str]):
    text = _text(next(conversions[kind].glob("*.html")).read_bytes())
    reports = _reports(conversions[kind])
    first = reports[0]
    everywhere = [first.command, first.source.sha256[:12], first.loaded_by, f"emotion-edge {first.versions['emotion-edge']}"]
    everywhere += [report.artifact.file for report in reports] + [report.artifact.sha256[:12] for report in reports]
    everywhere += [warning for report in reports for warning in report.warnings]
    everywhere += [note for report in reports for note in report.notes]
    everywhere += [layer.layer for report in reports for layer in report.layers]
    for words in [*said, *everywhere, "Latency was measured on the machine that converted"]:
        assert re.sub(r"\s+", " ", words) in text.replace("\u200b", ""), words


def test_every_figure_of_the_matrices_and_the_gate_is_there(conversions: dict[str, Path]):
    root = ET.fromstring(next(conversions["passed"].glob("*.html")).read_bytes())
    reports = _reports(conversions["passed"])
    matrices = [
        [int(small.text or "") for small in table.findall("./tbody/tr/td/small")]
        for table in root.iter("table")
        if table.get("class") == "matrix"
    ]
    sides = [reports[0].reference, *(report.converted for report in reports)]
    assert matrices == [[count for row in side.confusion or [] for count in row] for side in sides]
    gates = root.find(".//section[@id='gate']")
    assert gates is not None
    assert len(gates.findall(".//tbody/tr")) == sum(len(report.gate) for report in reports)
    for table in root.iter("table"):
        assert table.find("caption") is not None
        assert all(head.get("scope") in ("row", "col") for head in table.iter("th"))


def test_what_keeping_layers_in_float_bought_is_shown_with_the_worst_layers(conversions: dict[str, Path]):
    report = _reports(conversions["passed"])[0]
    layers = tuple(LayerNoise(f"layer{i}", "CONV_2D", 30.0 + i, 40.0 - i, i == 5) for i in range(6))
    report = msgspec.structs.replace(
        report, layers=layers, in_float=("layer5",), before_in_float=Attempt("failed", 1000, 0.5, 0.901)
    )
    root = ET.fromstring(page([report]))
    worst = [[item.findtext("b") for item in found] for found in root.iter("ol") if found.get("class") == "worst"]
    # By their own noise those still in INT8; each alone, that which was worth leaving in float.
    assert worst == [["layer0", "layer1", "layer2"], ["layer5", "layer4", "layer3"]]
    text = _text(page([report]))
    assert "what leaving layer5 in float bought" in text
    assert "90.10 %" in text


def test_names_that_users_give_do_no_harm(conversions: dict[str, Path]):
    content = page(_hostile(_reports(conversions["passed"])))
    root = ET.fromstring(content)
    assert not [element.tag for element in root.iter() if element.tag in ("script", "iframe", "object")]
    assert {element.get("src", "data:")[:5] for element in root.iter("img")} <= {"data:"}
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]
    assert HOSTILE in _text(content)
    policy = root.find(".//meta[@http-equiv='Content-Security-Policy']")
    assert policy is not None
    assert policy.get("content", "").startswith("default-src 'none'")
    assert tag("b", "<&>'\"", "\x00\udc80", title='">') == '<b title="&quot;&gt;">&lt;&amp;&gt;&#x27;&quot;\ufffd\ufffd</b>'


def test_pictures_are_shown_only_when_asked_for_and_in_their_colours(conversions: dict[str, Path]):
    reports = _reports(conversions["passed"])
    shown = ET.fromstring(next(conversions["passed"].glob("*.html")).read_bytes())
    assert len(list(shown.iter("img"))) == 48
    assert b"<img" not in next(conversions["unproven"].glob("*.html")).read_bytes()
    assert b"<img" not in page(reports)
    red = np.zeros((1, 24, 24, 3), np.uint8)
    red[..., 0] = 255
    spec = msgspec.structs.replace(reports[0].input, channels=3, color="rgb")
    source = ET.fromstring(page([msgspec.structs.replace(reports[0], input=spec)], red)).find(".//img")
    assert source is not None
    content = base64.b64decode(source.get("src", "").partition(",")[2])
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert picture[0, 0].tolist() == [0, 0, 255]
    # Float formats were calibrated with nothing.
    assert b"<img" not in page([report for report in reports if report.calibrated is None], red)


def test_the_same_reports_make_the_same_page(conversions: dict[str, Path]):
    for folder in conversions.values():
        reports = _reports(folder)
        assert page(reports) == page(reports)
    passed = _reports(conversions["unproven"])
    # edge-convert itself wrote what its reports make again.
    assert page(passed) == (conversions["unproven"] / "model.report.html").read_bytes()


@pytest.mark.parametrize(
    ("values", "zero", "ends", "ticks"),
    [
        ([97.3, 327.5], True, (0, 400), 5),
        ([0.001], True, (0, 0.001), 3),
        ([57.7, 57.7], False, (57.0, 58.5), 4),
        ([0.0], True, (0, 1), 3),
        ([-7.1, 45.3], False, (-20, 60), 5),
    ],
)
def test_an_axis_holds_its_values_between_round_figures(values: list[float], zero: bool, ends: tuple[float, float], ticks: int):
    of = scale(values, zero)
    assert (of.low, of.high) == pytest.approx(ends)
    assert len(of.ticks) == ticks
    assert len({f"{tick:.{of.digits}f}" for tick in of.ticks}) == ticks
    assert all(0 <= of.at(value) <= 100 for value in values)


# Everything that a person would stumble over, as a list of sentences.
AUDIT = (
    "(() => {"
    + CONTRAST
    + """
  const found = [], root = document.documentElement;
  let words = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length || element.closest("title, desc")) continue;
    words += 1;
    const style = getComputedStyle(element), drawn = element instanceof SVGElement;
    const badge = element.matches("text.badge") && rgb(getComputedStyle(element.previousElementSibling).fill);
    const below = badge || ground(drawn ? element.closest("svg.plot").parentElement : element);
    const figure = contrast(over(rgb(drawn ? style.fill : style.color), below), below);
    if (!(figure >= 4.5)) found.push(`contrast ${figure.toFixed(2)}: ${element.textContent.slice(0, 40)}`);
  }
  if (words < 50) found.push(`only ${words} elements with words`);
  if (root.scrollWidth > innerWidth) found.push(`wider than the window: ${root.scrollWidth}`);
  for (const table of document.querySelectorAll("table.cards")) {
    const room = table.parentElement;
    if (room.scrollWidth > room.clientWidth + 1) found.push(`table wider than its place: ${table.caption.textContent}`);
  }
  for (const tile of document.querySelectorAll(".tiles dd"))
    if (tile.scrollWidth > tile.clientWidth + 1) found.push(`tile too small: ${tile.textContent}`);
  const plots = [...document.querySelectorAll("svg.plot")];
  if (!plots.length) found.push("no plot");
  for (const plot of plots) {
    const box = plot.getBoundingClientRect(), texts = [...plot.querySelectorAll("text")];
    if (box.width < 150 || box.height < 50) found.push(`${plot.id} is ${box.width}x${box.height}`);
    const boxes = texts.map(text => text.getBoundingClientRect());
    boxes.forEach((a, i) => {
      const what = `${plot.id}: ${texts[i].textContent}`;
      if (!a.width || !a.height) found.push(`nothing to see of ${what}`);
      if (a.left < box.left - 1 || a.right > box.right + 1 || a.top < box.top - 1 || a.bottom > box.bottom + 1)
        found.push(`outside ${what}`);
      boxes.slice(i + 1).forEach((b, k) => {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 1 && high > 3) found.push(`${what} meets ${texts[i + 1 + k].textContent}`);
      });
    });
    for (const shape of plot.querySelectorAll("circle, rect, path, line")) {
      const a = shape.getBoundingClientRect();
      if (a.left < box.left - 8 || a.right > box.right + 8 || a.bottom > box.bottom + 1)
        found.push(`outside ${plot.id}: a ${shape.tagName}`);
    }
  }
  if (document.scripts.length || window.hacked) found.push("a script");
  return found;
})()"""
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("chromium is not installed; scripts/test installs it (Debian: apt-get install chromium)")
    with Browser(program) as started:
        yield started


@pytest.fixture(scope="module")
def pages(conversions: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of the conversions, and one with the most that a report can hold."""
    found = {kind: next(folder.glob("*.html")) for kind, folder in conversions.items()}
    found["hostile"] = tmp_path_factory.mktemp("hostile") / "page.html"
    found["hostile"].write_bytes(page(_hostile(_reports(conversions["passed"]))))
    return found


@pytest.mark.parametrize("kind", ["passed", "unproven", "failed", "hostile"])
def test_a_browser_shows_it_readably_in_both_schemes_narrow_and_wide(browser: Browser, pages: dict[str, Path], kind: str):
    grounds = {}
    for scheme in ("light", "dark"):
        for width in (400, 800, 1600):
            browser.open(pages[kind], width, scheme=scheme)
            browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert browser.run(AUDIT) == [], (scheme, width)
            assert browser.complaints == []
            loaded = [address for address in browser.requests if not address.startswith("data:")]
            assert loaded == [pages[kind].resolve().as_uri()]
        grounds[scheme] = browser.run("getComputedStyle(document.body).backgroundColor")
    light, dark = ([int(part) for part in re.findall(r"\d+", grounds[scheme])] for scheme in ("light", "dark"))
    assert min(light) > 200
    assert max(dark) < 60


def test_on_paper_it_is_dark_on_white_and_no_wider_than_the_sheet(browser: Browser, pages: dict[str, Path]):
    # A4 with Chromium's margins, in CSS pixels.
    browser.open(pages["passed"], 718, scheme="dark", media="print")
    assert browser.run(AUDIT) == []
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("document.querySelector('nav').getClientRects().length") == 0


@pytest.mark.parametrize(
    ("harm", "noticed"),
    [
        ("<style>.facts dt { color: #999 }</style>", "contrast"),
        ("<div style='width:2000px'>x</div>", "wider than the window"),
        ("<style>.plot { height: 20px }</style>", "outside"),
        ("<style>.plot text { font-size: 30px }</style>", "meets"),
        ("<style>.plot text.value { transform: translate(40px) }</style>", "outside"),
        ("<img src='http://127.0.0.1:9/picture.png' alt='' />", "Content Security Policy"),
        ("<script>hacked = 1</script>", "Content Security Policy"),
    ],
)
def test_the_browser_notices_what_is_wrong_with_a_page(
    browser: Browser, pages: dict[str, Path], tmp_path: Path, harm: str, noticed: str
):
    harmed = tmp_path / "page.html"
    harmed.write_text(pages["passed"].read_text().replace("</main>", f"{harm}</main>"))
    browser.open(harmed, 400)
    said = [*browser.run(AUDIT), *browser.complaints]
    assert any(noticed in each for each in said), json.dumps(said, indent=1)
