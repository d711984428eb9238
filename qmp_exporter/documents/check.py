"""Plain values and a model → the model filled, or what is wrong with each value."""

import difflib
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, RootModel, ValidationError
from pydantic_core import ErrorDetails

from qmp_exporter.documents.document import Document, Location, Wrong, quoted

_Model = TypeVar("_Model", bound=BaseModel)
WANTED: Final = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "string_type": "text",
    "int_type": "a whole number",
    "greater_than_equal": "at least {ge}",
    "too_short": "at least {min_length} of them",
    "too_long": "at most {max_length} of them",
}


def checked(model: type[_Model], document: Document, context: object = None) -> _Model | None:
    """None when something was wrong, which is in document.wrongs then."""
    try:
        return model.model_validate(document.value, context=context)
    except ValidationError as error:
        _explain(model, error.errors(include_url=False), document)
        return None


def _explain(model: type[BaseModel], errors: list[ErrorDetails], document: Document) -> None:
    mistyped: set[Location] = set()  # a key that is missing because it is misspelt is no second mistake
    for error in errors:
        if error["type"] == "extra_forbidden":
            location, text, meant = _unknown_key(model, error["loc"])
            mistyped.add(meant)
            document.wrongs.append(Wrong(document.keys[location], location, text))
    for error in errors:
        location = error["loc"]
        if error["type"] == "missing" and location not in mistyped:
            text = f"missing, wanted {_fields(model, location)[str(location[-1])]}"
            document.wrongs.append(Wrong(document.values[location[:-1]], location, text))
        elif location[-1:] == ("[key]",):
            text = str(error["ctx"]["error"])
            document.wrongs.append(Wrong(document.keys[location[:-1]], location[:-1], text))
        elif error["type"] not in ("missing", "extra_forbidden") and location not in document.settled:
            text = _bad_value(error, document)
            document.wrongs.append(Wrong(document.values[location], location, text))


def _unknown_key(model: type[BaseModel], location: Location) -> tuple[Location, str, Location]:
    known = {key.lower(): key for key in _fields(model, location)}
    close = difflib.get_close_matches(str(location[-1]).lower(), known, 1)
    if close:
        meant = known[close[0]]
        return location, f'unknown key, did you mean "{meant}"?', (*location[:-1], meant)
    return location, f"unknown key, known here are {', '.join(known.values())}", location


def _fields(model: type[BaseModel], location: Location) -> dict[str, str]:
    if issubclass(model, RootModel):
        model = _inside(model.model_fields["root"].annotation)
    for step in location[:-1]:
        if isinstance(step, str):
            model = _inside(model.model_fields[step].annotation)
    own_first = sorted(model.model_fields, key=lambda name: name not in model.__annotations__)
    return {name: model.model_fields[name].description or name for name in own_first}


def _inside(annotation: Any) -> type[BaseModel]:
    """`list[VM]` or `VM | None` -> VM"""
    while not isinstance(annotation, type) or not issubclass(annotation, BaseModel):
        annotation = get_args(annotation)[0]
    return annotation


def _bad_value(error: ErrorDetails, document: Document) -> str:
    location = error["loc"]
    if error["type"] == "secret":
        return error["msg"]
    found = f"found {document.found(location, error['input'])}"
    if error["type"] == "value_error":
        return f"{found}, {error['ctx']['error']}"
    raw = document.raw.get(location) if error["type"] == "string_type" else None
    wanted = WANTED[error["type"]].format(**error.get("ctx", {}))
    return f"{found}, wanted {wanted}" + (f": write it as {quoted(raw)}" if raw else "")
