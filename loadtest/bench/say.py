"""How the parts report their progress: a line at a time."""

from collections.abc import Callable

Say = Callable[[str], None]
