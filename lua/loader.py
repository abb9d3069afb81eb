"""Loads the scripts: expands includes, takes each script's SHA-1, names mistakes by file and line.

A line `-- @include name` is replaced by `include/name.lua` of the script's own room or, for what
several rooms use, of `lua/include`; once per script however often it is named. Includes are plain
fragments that take keys as parameters and never touch KEYS or ARGV.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
# What happens to reservations, to whole partitions, to waiting rooms.
ROOMS = (HERE / "reservations", HERE / "partitions", HERE / "queue")
# The scripts of the relays' leases; each is complete in its own file, without includes.
LEASES = HERE / "leases"
_INCLUDE = re.compile(r"^-- @include (\S+)\s*$")


class ScriptError(Exception):
    """A script that cannot be assembled; the text names the file and the line."""


@dataclass(frozen=True, slots=True)
class Script:
    """One assembled script; `sha`, which EVALSHA takes, is the SHA-1 of `source` in hex."""

    name: str
    source: bytes
    sha: str


def _assemble(
    path: Path, folders: tuple[Path, ...], open_files: tuple[Path, ...], seen: set[str]
) -> str:
    lines: list[str] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _INCLUDE.match(line)
        if match is None:
            lines.append(line)
            continue
        name = match.group(1)
        found = [folder / f"{name}.lua" for folder in folders]
        included = next((file for file in found if file.is_file()), None)
        if included is None:
            searched = " or ".join(str(folder) for folder in folders)
            raise ScriptError(f"{path}:{number}: no include named {name} in {searched}")
        if included in open_files:
            raise ScriptError(f"{path}:{number}: circular include of {name}")
        if name not in seen:
            seen.add(name)
            lines.append(_assemble(included, folders, (*open_files, included), seen))
    return "\n".join(lines)


def load_script(path: Path) -> Script:
    """Assemble one script. Raises ScriptError for a missing or circular include."""
    folders = (path.parent / "include", path.parent.parent / "include")
    source = (_assemble(path, folders, (path,), set()) + "\n").encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
    return Script(name=path.stem, source=source, sha=sha)


def load_scripts(*folders: Path) -> dict[str, Script]:
    """All scripts of the folders, by default of all rooms, by name; the store's methods and the
    event types use these names.
    """
    paths = [path for folder in folders or ROOMS for path in sorted(folder.glob("*.lua"))]
    return {path.stem: load_script(path) for path in paths}
