"""What the documentation tells people to type exists, and its links lead somewhere."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
PROGRAMS: dict[str, str] = msgspec.toml.decode((ROOT / "pyproject.toml").read_bytes())["project"]["scripts"]

# A command as a person types it, and as a terminal shows it: `$ sudo -u somebody .venv/bin/edge-run --check`.
COMMAND = re.compile(r"(?:\$ )?(?:sudo (?:-u \S+ )?)?(?:\S*/)?(edge-[a-z]+)(?= |$)(.*)")
# Ends a command in a shell.
BETWEEN = {"|", "||", "&", "&&", ";", ">", "<", "2>"}
FLAG = re.compile(r"--?[A-Za-z][\w-]*")
# argparse's own line for an option: `  -o FILE, --output FILE  where it goes`.
OPTION = re.compile(r"^ {2,4}(-\S.*?)(?: {2,}.*)?$", re.MULTILINE)
# `{a,b}` in the usage, or a metavar `a|b`: the words of which the first argument is one.
VERBS = re.compile(r"^  ([a-z]+(?:\|[a-z]+)+)$", re.MULTILINE)
# In a sentence, `code`.
SPAN = re.compile(r"`([^`]*)`")
# In a sentence, [words](where); a picture's is one, too.
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"#{1,6} (.+?)\s*#*$")


def lines(text: str) -> Iterator[tuple[bool, str]]:
    """Each line of a page, and whether it stands in a block of code (fenced, or indented after an empty line)."""
    fence, indented, before = "", False, ""
    for line in text.splitlines():
        marker = re.match(r"\s*(```+|~~~+)", line)
        if fence or marker:
            inside = bool(fence) and not line.strip().startswith(fence)
            fence = fence if inside else "" if fence else marker[1] if marker else ""
            indented = False
            yield inside, line
        else:
            indented = (line.startswith("    ") and (indented or not before.strip())) or (indented and not line.strip())
            yield indented and bool(line.strip()), line
        before = line


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every command of ours that a page shows as code, in a block or in a sentence: its name, and its arguments."""
    code = "\n".join(line.strip() if inside else "\n".join(SPAN.findall(line)) for inside, line in lines(text))
    for line in re.sub(r"\\\n", " ", code).splitlines():
        if (found := COMMAND.match(line)) and found[1]:
            try:
                words = shlex.split(found[2], comments=True)
            except ValueError:
                # What a program says, not what is typed: quotes are apostrophes there.
                words = found[2].split()
            ends = next((place for place, word in enumerate(words) if word in BETWEEN), len(words))
            yield found[1], words[:ends]


@cache
def said(program: str, *verb: str) -> str:
    """What a program says to --help."""
    module, _, name = PROGRAMS[program].partition(":")
    text = io.StringIO()
    with contextlib.redirect_stdout(text), pytest.raises(SystemExit) as end:
        getattr(importlib.import_module(module), name)([*verb, "--help"])
    assert not end.value.code, program
    return text.getvalue()


def flags(program: str, *verb: str) -> set[str]:
    """The flags that a program's parser knows."""
    options = OPTION.findall(said(program, *verb))
    return {flag for option in options for flag in re.findall(r"(?:^|, )(-[\w-]+)", option)}


def unknown(text: str) -> list[str]:
    """Commands of a page that no such program would take."""
    wrong = []
    for program, words in commands(text):
        if program not in PROGRAMS:
            wrong.append(f"{program}: no such program")
            continue
        verbs = VERBS.search(said(program))
        # Only such a program has a parser for each of its verbs.
        own = verbs and words and words[0] in verbs[1].split("|")
        known = flags(program, words[0]) if own else flags(program)
        asked = (word.partition("=")[0] for word in words)
        wrong += [f"{program} {word}" for word in asked if FLAG.fullmatch(word) and word not in known]
    return wrong


def slugs(text: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for inside, line in lines(text):
        if not inside and (heading := HEADING.fullmatch(line)):
            words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            count = found[name] = found.get(name, -1) + 1
            names.add(f"{name}-{count}" if count else name)
    return names


def astray(page: Path, text: str) -> list[str]:
    """Links of a page that lead nowhere."""
    wrong = []
    for inside, line in lines(text):
        for link in () if inside else LINK.findall(SPAN.sub("", line)):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, heading = link.partition("#")
            target = page.parent / name
            if name and not target.exists():
                wrong.append(f"{link}: no such file")
            elif heading and heading not in slugs(target.read_text() if name else text):
                wrong.append(f"{link}: no such heading")
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_has_only_flags_that_its_program_knows(page: Path) -> None:
    assert unknown(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_between_pages_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert astray(page, page.read_text()) == []


def test_every_program_is_shown_at_work() -> None:
    assert {program for page in PAGES for program, _ in commands(page.read_text())} == set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_parsers_flags_are_found(program: str) -> None:
    """Else every flag would be unknown, or, for a program that is never shown with one, none."""
    assert {"-h", "--help"} < flags(program) or program == "edge-model"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Say:\n\n    edge-run --source 0 --host broker.local     # it's live\n", []),
        ("Say:\n\n    edge-run --sauce 0\n", ["edge-run --sauce"]),
        ("```\n$ edge-run --source 0 --hots=x\n```\n", ["edge-run --hots"]),
        ("    sudo -u emotion-edge edge-engine build --confg x\n", ["edge-engine --confg"]),
        ("    sudo .venv/bin/edge-flash --bundle b \\\n        --devise /dev/sdX\n", ["edge-flash --devise"]),
        ("    edge-model push p --broker b --device a --patience 9\n", []),
        ("    edge-model pack p --key k --broker b\n", ["edge-model --broker"]),
        ("    edge-rum --source 0\n", ["edge-rum: no such program"]),
        ("    edge-bundle -o b --Force\n    edge-bundle -x\n", ["edge-bundle --Force", "edge-bundle -x"]),
        ("    edge-doctor --json | jq --raw-output .\n", []),
        ("Or `edge-run --source 0`, `edge-model push`, or `edge-run --sauce`.\n", ["edge-run --sauce"]),
        ("A sentence that goes on with\n    edge-run --sauce shows no command.\n", []),
    ],
)
def test_a_flag_that_is_not_there_is_found(text: str, wrong: list[str]) -> None:
    assert unknown(text) == wrong


@pytest.mark.parametrize(
    ("link", "wrong"),
    [
        ("[a](there.md)", 0),
        ("[a](there.md#two-words)", 0),
        ("[a](there.md#two-words-1)", 0),
        ("[a](#here-it-is)", 0),
        ("[a](https://example.org/none.md#none)", 0),
        ("[a](none.md)", 1),
        ("[a](there.md#none)", 1),
        ("[a](there.md#no-heading)", 1),
        ("[a](#none)", 1),
    ],
)
def test_a_link_that_leads_nowhere_is_found(tmp_path: Path, link: str, wrong: int) -> None:
    (tmp_path / "there.md").write_text("# Two words\n\n    # no heading\n\n## Two `words`\n")
    text = f"# Here, it is\n\n{link}, and `[b](none.md)`\n"
    assert len(astray(tmp_path / "here.md", text)) == wrong
