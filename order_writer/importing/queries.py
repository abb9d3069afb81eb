"""The statements of an import."""

from pathlib import Path

from config.queries import Queries

QUERIES = Queries(Path(__file__).parent / "sql")
