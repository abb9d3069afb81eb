"""Named, described sections of .sql files: the only way SQL gets into Python.

A section starts with `-- name: word` and may describe itself in the comment lines below.
"""

import re
from pathlib import Path

_SECTION = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Queries:
    """The sections of one file: `queries["advance_watermark"]` is its SQL."""

    def __init__(self, path: Path) -> None:
        """Read the file; raises ValueError for a name used twice or a file without sections."""
        parts = _SECTION.split(path.read_text(encoding="utf-8"))
        self._sections: dict[str, str] = dict(
            zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True)
        )
        if len(self._sections) * 2 != len(parts) - 1 or not self._sections:
            message = f"{path}: every section needs a name of its own"
            raise ValueError(message)

    def __getitem__(self, name: str) -> str:
        """The SQL of one section; KeyError where there is none."""
        return self._sections[name]
