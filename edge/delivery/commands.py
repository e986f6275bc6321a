"""Commands from outside: what arrives on `command/<verb>` is judged here, before anything acts on it."""

from __future__ import annotations

import logging
import queue
import re
from typing import Any, Literal

import msgspec

from edge.delivery.broker import Received
from edge.delivery.events import Reply, encode
from edge.delivery.messages import Message
from edge.delivery.topics import Topics
from edge.errors import first_line

Verb = Literal["pause", "resume", "reload", "status"]

# Payload and correlation data together; the longest command that means anything has 17 bytes.
MAX_BYTES = 4096
# So many commands wait for the supervisor at most; it takes one in each of its turns.
MAX_WAITING = 16
MAX_LEVELS = 20
# Commands that are looked at: so many at once, and so many a second from then on. The rest is dropped without a reply.
BURST, RATE = 20, 10.0
SANE_VERB = re.compile(r"[a-z][a-z0-9_-]{0,31}")
SANE_REPLY = re.compile(r"[^+#\x00-\x1f\x7f-\x9f]{1,200}")

log = logging.getLogger(__name__)


class Command(msgspec.Struct, frozen=True):
    """A command that was found good.

    Attributes:
        verb: what to do; `pause` with `{"paused": false}` is `resume`.
        name: the last level of the topic that it was sent to.
        response: the topic that the reply goes to.
        correlation: what the reply has to carry (MQTT 5).
    """

    verb: Verb
    name: str
    response: str
    correlation: bytes | None = None


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """What `pause` takes; the other commands take nothing.

    Attributes:
        paused: false is `resume`.
    """

    paused: bool = True


class _Nothing(msgspec.Struct, forbid_unknown_fields=True):
    pass


ARGUMENTS: dict[Verb, type[Pause] | type[_Nothing]] = {
    "pause": Pause,
    "resume": _Nothing,
    "reload": _Nothing,
    "status": _Nothing,
}


def make_reply(name: str, response: str, correlation: bytes | None, result: dict[str, Any] | None, error: str | None) -> Message:
    """Any reply.

    Args:
        name: what it answers.
        response: the topic that it goes to.
        correlation: what it has to carry (MQTT 5).
        result, error: what was done, or why it was not.
    """
    payload = encode(Reply(1, name[:64], error is None, result, error))
    return Message(response, payload, schema="reply/1", correlation=correlation)


def reply_to(command: Command, result: dict[str, Any] | None, error: str | None) -> Message:
    """The reply to a command: done, with a result or without, or not done, with an error."""
    return make_reply(command.name, command.response, command.correlation, result, error)


def read_command(received: Received, topics: Topics) -> Command | Message | None:
    """Judge one message from a command topic.

    Returns:
        The command; or the reply that says why it is none; or None where there is nobody to reply to.
    """
    name = received.topic.rpartition("/")[2]
    response, correlation = topics.replies + name, received.correlation
    asked = received.response or ""
    # mosquitto throws out whoever publishes to more than 200 levels.
    if asked.startswith(topics.replies) and SANE_REPLY.fullmatch(asked[len(topics.replies) :]) and asked.count("/") <= MAX_LEVELS:
        response = asked
    elif not SANE_VERB.fullmatch(name):
        return None
    if len(received.payload) + len(correlation or b"") > MAX_BYTES:
        return make_reply(name, response, None, None, f"a command has at most {MAX_BYTES} bytes")
    kind = ARGUMENTS.get(name)  # type: ignore[call-overload]
    if kind is None:
        error = f"there is no command of this name; there are {', '.join(ARGUMENTS)}"
    elif received.retain:
        error = "a retained command is ignored: it would come again with every connection; publish it without retain"
    else:
        try:
            arguments = msgspec.json.decode(received.payload or b"{}", type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError) as failure:
            error = f"the payload is not what {name} takes ({first_line(failure)}); see docs/mqtt.md"
        else:
            resumed = isinstance(arguments, Pause) and not arguments.paused
            return Command("resume" if resumed else name, name, response, correlation)  # type: ignore[arg-type]
    return make_reply(name, response, correlation, None, error)


class Desk:
    """Where commands arrive, and never more than the device can take.

    Attributes:
        commands: for the supervisor.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._allowance, self._looked_at = float(BURST), 0.0
        self._flooded = False

    def take(self, received: Received, now: float) -> Message | None:
        """Take one in.

        Args:
            now: monotonic seconds.

        Returns:
            The error reply, where there is one.
        """
        self._allowance = min(BURST, self._allowance + (now - self._looked_at) * RATE)
        self._looked_at = now
        if self._allowance < 1:
            if not self._flooded:
                log.warning("more than %.0f commands a second: the rest is dropped without a reply", RATE)
            self._flooded = True
            return None
        self._allowance -= 1
        # Told once for each flood.
        self._flooded = self._flooded and self._allowance < BURST - 1
        found = read_command(received, self._topics)
        if isinstance(found, Command):
            if self.commands.qsize() >= MAX_WAITING:
                return reply_to(found, None, "too many commands are waiting; try again later")
            self.commands.put(found)
            return None
        if found is None:
            log.info("a command on a topic that cannot be replied to is ignored")
        return found
