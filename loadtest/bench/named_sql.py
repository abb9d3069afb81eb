"""Named sections of .sql files: `-- name: SECTION` starts one."""

import re
from pathlib import Path

_SECTION = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def read_sections(path: Path) -> dict[str, str]:
    """Statements by name."""
    parts = _SECTION.split(path.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (text.strip() for text in parts[2::2]), strict=True))


BENCH_SQL = read_sections(Path(__file__).with_name("queries.sql"))
