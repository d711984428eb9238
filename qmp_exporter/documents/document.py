"""Text of a YAML file → plain values, the place of each, and what is wrong with the YAML itself. Only yaml's caller."""

import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import yaml

NODES: Final = 200_000  # values once every alias is followed: an alias bomb ends here, in half a second
DEPTH: Final = 20  # a label, the deepest valid value, is at 4; an alias inside itself ends here
WRITTEN: Final = "written:"  # stands before the tag of a node whose tag was written out in the file
MERGE: Final = "tag:yaml.org,2002:merge"
NOT_TEXT: Final = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float", "timestamp"))

Location = tuple[str | int, ...]  # ("vms", 2, "socket")


class ConfigError(Exception):
    def __init__(self, errors: Sequence[str]) -> None:
        super().__init__("\n".join(errors))
        self.errors = tuple(errors)


class Place(NamedTuple):
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Wrong(NamedTuple):
    place: Place
    location: Location
    text: str  # what was found, what was wanted


@dataclass
class Document:
    value: Any = None
    keys: dict[Location, Place] = field(default_factory=dict)
    values: dict[Location, Place] = field(default_factory=dict)
    raw: dict[Location, str] = field(default_factory=dict)  # how numbers, booleans, dates and nulls were written
    wrongs: list[Wrong] = field(default_factory=list)
    settled: set[Location] = field(default_factory=set)  # values that one of the wrongs is about

    def found(self, location: Location, value: object) -> str:
        return named(value, self.raw.get(location, ""))


def read(text: str, source: str, least: str) -> Document:
    """`least`: what an empty file is told."""
    root = _compose(text, source, least)
    walk = _Walk(source)
    walk.document.values[()] = walk.document.keys[()] = _place(root.start_mark)
    walk.document.value = walk.value(root, ())
    return walk.document


def named(value: object, raw: str = "") -> str:
    """Say what a person would call the value, in characters that are safe on any terminal."""
    match value:
        case str():
            return quoted(value)
        case None:
            name = "nothing"
        case bool():
            name = f"the boolean {str(value).lower()}"
        case int() | float():
            name = f"the number {value:.15g}"
        case dt.date():  # a datetime is one
            name = f"the date {value}"
        case list():
            name = "a list"
        case _:
            name = "a mapping"
    return name if raw in name else f"{name}, which is how YAML reads {raw}"


def quoted(text: str) -> str:
    shown = text if len(text) <= 60 else text[:57] + "..."
    return f'"{shown}"' if shown.isprintable() else json.dumps(shown)


def end(text: str) -> Place:
    return Place(text.count("\n") + 1, len(text) - text.rfind("\n"))


class _Loader(yaml.SafeLoader):
    """PyYAML's own: libyaml's is nine times as fast, but 100,000 brackets crash the process in it."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs lack its types
        tag: str | None = getattr(event, "tag", None)
        node = super().compose_node(parent, index)
        if node is not None and tag is not None:
            node.tag = WRITTEN + tag
        return node


# YAML 1.2 reads 1e3, 089 and 0o17 as numbers, YAML 1.1 as text: what programs read differently is to be quoted.
for _kind, _pattern in (
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$"),
    ("int", "0o[0-7]+$"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(_pattern), list("-+.0123456789"))


def _compose(text: str, source: str, least: str) -> yaml.Node:
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        found = f"found the character U+{error.character:04X}, wanted text without control characters"
        raise ConfigError([f"{source}:{end(text[: error.position])}: {found}"]) from error
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or loader.get_mark()
        raise ConfigError([f"{source}:{_place(mark)}: {_syntax(error)}"]) from error
    except RecursionError as error:  # from some 300 brackets on
        raise ConfigError([f"{source}:{_place(loader.get_mark())}: nested too deeply"]) from error
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode, a %YAML version of 5,000 digits
        raise ConfigError([f"{source}:{_place(loader.get_mark())}: not valid YAML: {error}"]) from error
    if root is None:
        raise ConfigError([f"{source}:1:1: found an empty file, {least}"])
    return root


def _place(mark: yaml.Mark) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or "cannot be read"
    if problem == r"found character '\t' that cannot start any token":
        return "found a tab, wanted spaces"
    if match := re.fullmatch(r"found character '(.)' that cannot start any token", problem):
        return f"found {match[1]} at the start of a value, wanted the value in quotes"
    began = f"{error.context} from line {error.context_mark.line + 1}, " if error.context_mark else ""
    return f"not valid YAML: {began}{problem}"


class _Walk:
    def __init__(self, source: str) -> None:
        self.document = Document()
        self._source = source
        self._nodes = 0
        self._scalars = yaml.SafeLoader("")

    def value(self, node: yaml.Node, location: Location, depth: int = 0) -> Any:
        self._nodes += 1
        if self._nodes > NODES or depth > DEPTH:
            limit = f"{NODES:,} values" if self._nodes > NODES else f"{DEPTH} levels"
            found = f"found more than {limit} (aliases count each time they are used)"
            raise ConfigError([f"{self._source}:{_place(node.start_mark)}: {found}"])
        if node.tag.startswith(WRITTEN):
            tag = quoted(node.tag.removeprefix(WRITTEN).replace("tag:yaml.org,2002:", "!!"))
            self._wrong(node, location, f"found the YAML tag {tag}, wanted a value without a tag")
            self.document.settled.add(location)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, location, depth)
            case yaml.SequenceNode():
                return self._sequence(node, location, depth)
            case _:
                return self._scalar(node, location)

    def _wrong(self, node: yaml.Node, location: Location, text: str) -> None:
        self.document.wrongs.append(Wrong(_place(node.start_mark), location, text))

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        if node.tag not in NOT_TEXT:
            # JSON, which is YAML, escapes what is beyond 16 bits as two; PyYAML leaves them two.
            return node.value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        try:
            value = self._construct(node)
        except ValueError:  # the 45th day of the 13th month
            found = f"found {quoted(node.value)}, which YAML takes for a number or date, wanted it in quotes"
            self._wrong(node, location, found)
            self.document.settled.add(location)
            return node.value
        self.document.raw[location] = node.value
        return value

    def _construct(self, node: yaml.Node) -> Any:
        if len(node.value) > 40:
            raise ValueError  # Python gives up at 4,300 digits, a reader of the message much earlier
        return self._scalars.construct_object(node)

    def _sequence(self, node: yaml.SequenceNode, location: Location, depth: int) -> list[Any]:
        items = []
        for index, child in enumerate(node.value):
            item = (*location, index)
            self.document.keys[item] = self.document.values[item] = _place(child.start_mark)
            items.append(self.value(child, item, depth + 1))
        return items

    def _mapping(self, node: yaml.MappingNode, location: Location, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for key, child in node.value:
            if key.tag == MERGE:
                for parent in reversed(child.value if isinstance(child, yaml.SequenceNode) else [child]):
                    merged |= self._merged(parent, location, depth)
        own: dict[str, Any] = {}
        for key, child in node.value:
            if key.tag != MERGE and self._is_new_key(key, location, own):
                inside = (*location, key.value)
                self.document.keys[inside] = _place(key.start_mark)
                self.document.values[inside] = _place(child.start_mark)
                self.document.raw.pop(inside, None)  # of a merged value, replaced here
                own[key.value] = self.value(child, inside, depth + 1)
        return merged | own

    def _merged(self, parent: yaml.Node, location: Location, depth: int) -> dict[str, Any]:
        if isinstance(parent, yaml.MappingNode):
            value: dict[str, Any] = self.value(parent, location, depth + 1)
            return value
        self._wrong(parent, (*location, "<<"), "found something else, wanted an alias of a mapping")
        return {}

    def _is_new_key(self, key: yaml.Node, location: Location, own: dict[str, Any]) -> bool:
        if not isinstance(key, yaml.ScalarNode) or key.tag.startswith(WRITTEN):
            self._wrong(key, location, "found a list, a mapping or a tag as a key, wanted text")
        elif key.tag in NOT_TEXT:
            text = f"found the key {key.value}, which YAML does not read as text, wanted it in quotes"
            self._wrong(key, location, text)
        elif key.value in own:
            first = self.document.keys[*location, key.value].line
            self._wrong(key, (*location, key.value), f"duplicate key, the first is on line {first}")
        else:
            return True
        return False
