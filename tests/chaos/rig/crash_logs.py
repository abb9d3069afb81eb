"""What the processes logged with a traceback: faults of their own, whatever they answered."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

INNERMOST_FRAMES = 4
BARE_LINES_MAX = 60


class _Frame(msgspec.Struct):
    filename: str
    lineno: int


class _Raised(msgspec.Struct):
    exc_type: str
    exc_value: str
    frames: tuple[_Frame, ...] = ()


class _Line(msgspec.Struct):
    event: str = ""
    exception: tuple[_Raised, ...] = ()


@dataclass(frozen=True)
class CrashLogs:
    """The logs of a data folder from a moment on."""

    folder: Path
    starts_bytes: dict[Path, int]

    @classmethod
    def from_now_on(cls, data: Path) -> Self:
        """Forget what was logged so far."""
        folder = data / "logs"
        return cls(folder, {path: path.stat().st_size for path in folder.glob("*.log")})

    def found(self) -> list[str]:
        """One text per traceback: process, event, error and where it came from."""
        return [
            f"{path.stem} logged {text}"
            for path in sorted(self.folder.glob("*.log"))
            for text in self._found_in(path)
        ]

    def _found_in(self, path: Path) -> list[str]:
        raw = path.read_bytes()[self.starts_bytes.get(path, 0) :].splitlines()
        lines = [_decoded(line) for line in raw if b'"exception"' in line]
        told = [f"{line.event}: {_told(raised)}" for line in lines for raised in line.exception[:1]]
        # What the interpreter itself says of a process that ends without having logged why.
        plain = [number for number, line in enumerate(raw) if line.startswith(b"Traceback (")]
        return told + [f"a bare traceback: {_text_from(raw, number)}" for number in plain]


def _text_from(lines: list[bytes], number: int) -> str:
    return b"\n".join(lines[number : number + BARE_LINES_MAX]).decode(errors="replace")


def _decoded(line: bytes) -> _Line:
    return msgspec.json.decode(line, type=_Line)


def _told(raised: _Raised) -> str:
    places = [f"{frame.filename}:{frame.lineno}" for frame in raised.frames[-INNERMOST_FRAMES:]]
    return f"{raised.exc_type} {raised.exc_value} at {' < '.join(reversed(places))}"
