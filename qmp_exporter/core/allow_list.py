"""The queries of a catalog -> whether a command with these arguments may be sent.  What is not one of them may not."""

from collections.abc import Iterable

from .family import Query


class AllowList:
    """Commands with their arguments, byte by byte; where those depend on the VM, by what all of them must look like."""

    def __init__(self, queries: Iterable[Query]) -> None:
        queries = tuple(queries)
        self._fixed = frozenset((query.command, query.arguments) for query in queries if query.arguments_of is None)
        self._shaped = tuple((query.command, query.arguments_of.shape) for query in queries if query.arguments_of)

    def allows(self, command: str, arguments: bytes) -> bool:
        return (command, arguments) in self._fixed or any(
            command == allowed and shape.fullmatch(arguments) for allowed, shape in self._shaped
        )
