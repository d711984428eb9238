"""The recorded sessions of four QEMU versions -> what QEMU said in them, as a hostile peer may say it again."""

import json
from pathlib import Path
from typing import Any, NamedTuple

SESSIONS = sorted((Path(__file__).parent.parent / "traces").glob("qemu-*/*.jsonl"))


class Said(NamedTuple):
    """A message of QEMU's; `command` is what it answers, empty for what is no reply."""

    command: str
    message: dict[str, Any]


def session(path: Path) -> list[Said]:
    """-> what QEMU said from the greeting on"""
    asked: dict[int, str] = {}
    said = []
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        message = entry["msg"]
        if entry["from"] == "client":
            asked[message["id"]] = message["execute"]
        else:
            said.append(Said(asked.get(message.get("id", -1), ""), message))
    return said


def wire(path: Path) -> list[bytes]:
    """-> the same, as it was on the wire"""
    return [json.dumps(said.message).encode() + b"\r\n" for said in session(path)]


class Words:
    """All that QEMU ever said: its events, and its answers by command; each once."""

    def __init__(self) -> None:
        events: dict[str, dict[str, Any]] = {}
        answers: dict[str, dict[str, Any]] = {}
        for path in SESSIONS:
            for command, message in session(path):
                bare = {name: value for name, value in message.items() if name not in {"timestamp", "id"}}
                if "event" in message:
                    events[json.dumps(bare)] = message
                elif command:
                    answers.setdefault(command, {})[json.dumps(bare)] = bare
        self.events = list(events.values())
        self.answers = {command: list(values.values()) for command, values in answers.items()}
