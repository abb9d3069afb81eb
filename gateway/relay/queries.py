"""The relay's statements."""

from pathlib import Path

from config.queries import Queries

QUERIES = Queries(Path(__file__).parent / "sql" / "queries.sql")
