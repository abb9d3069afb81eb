"""Named, described sections of .sql files: the only way SQL gets into Python.

A section starts with `-- name: word` and may describe itself in the comment lines below.
"""

import re
from pathlib import Path

_SECTION = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


class Queries:
    """The sections of a file, or of all .sql files of a folder.

    `QUERIES["advance_watermark"]` is the SQL of that section.
    """

    def __init__(self, path: Path) -> None:
        """Read the file, or the folder's files.

        Raises ValueError for a name used twice, also in two files, and for a file without sections.
        """
        self._sections: dict[str, str] = {}
        for file in sorted(path.glob("*.sql")) if path.is_dir() else [path]:
            self._read(file)
        if not self._sections:
            raise ValueError(f"{path}: there is no section")

    def _read(self, file: Path) -> None:
        parts = _SECTION.split(file.read_text(encoding="utf-8"))
        names = parts[1::2]
        if not names or len(set(names)) < len(names) or self._sections.keys() & set(names):
            raise ValueError(f"{file}: every section needs a name of its own")
        self._sections.update(zip(names, (text.strip() for text in parts[2::2]), strict=True))

    def __getitem__(self, name: str) -> str:
        """The SQL of one section; KeyError where there is none."""
        return self._sections[name]
