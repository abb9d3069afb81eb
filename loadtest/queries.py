"""Named, described sections of .sql files: the only way SQL gets into the load tools.

A section starts with `-- name: word` and may describe itself in the comment lines below. The load
tools judge the gateway from outside, so they do not share the gateway's own reader.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_SECTION = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Queries(Mapping[str, str]):
    """The sections of one file: `queries["watermarks"]` is its SQL."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises ValueError for a name used twice or a file without sections."""
        parts = _SECTION.split(path.read_text(encoding="utf-8"))
        self._sections: dict[str, str] = dict(
            zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True)
        )
        if len(self._sections) * 2 != len(parts) - 1 or not self._sections:
            raise ValueError(f"{path}: every section needs a name of its own")

    def __getitem__(self, name: str) -> str:
        """The SQL of one section; KeyError where there is none."""
        return self._sections[name]

    def __iter__(self) -> Iterator[str]:
        """The names of the sections, in the order of the file."""
        return iter(self._sections)

    def __len__(self) -> int:
        """How many sections the file has."""
        return len(self._sections)
