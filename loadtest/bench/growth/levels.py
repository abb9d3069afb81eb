"""The sizes at which growth is measured, and their names in the results."""

from collections.abc import Sequence


def scaled(levels: Sequence[int], scale: float) -> tuple[int, ...]:
    """The sizes times the scale, at least 1 and each once."""
    return tuple(sorted({max(1, round(level * scale)) for level in levels}))


def setting_of(count: int, noun: str) -> str:
    """The name of a point: `1 SKU`, `1,000 SKUs`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
