"""Small files of the kernel -> their content, or nothing."""


def content(path: str) -> bytes | None:
    """None where it is not there, not readable, or was a file of somebody who is gone."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  half the cost of a Path
            return file.readall()
    except (OSError, ValueError):
        return None


def number(path: str) -> int | None:
    """None where it holds no number, such as `max`."""
    try:
        return int(content(path) or b"")
    except ValueError:
        return None


def keyed(path: str) -> dict[str, int]:
    """Lines of a word and a number, as those of cpu.stat and memory.events."""
    lines = (line.split() for line in (content(path) or b"").splitlines())
    return {line[0].decode(): int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}
