"""The gateway's statements by name; each subject has a file in `sql/`."""

from pathlib import Path

from config.queries import Queries

QUERIES = Queries(Path(__file__).parent / "sql")
