"""The gateway's statements by name; each subject has a file in `sql/`."""

from pathlib import Path

from gateway.process.queries import Queries

QUERIES = Queries(Path(__file__).parent / "sql")
