"""`python -m lua.assemble FOLDER` writes every assembled script there, for luacheck and readers."""

import sys
from pathlib import Path

from lua.loader import LEASES, load_scripts


def main(arguments: list[str]) -> int:
    """Write `name.lua` for each script; exit status 2 when the folder is not named."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m lua.assemble FOLDER\n")
        return 2
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    for script in (*load_scripts().values(), *load_scripts(LEASES).values()):
        (folder / f"{script.name}.lua").write_bytes(script.source)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
