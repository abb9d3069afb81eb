"""The statements that the benchmarks run in the Postgres of the stack under test."""

from pathlib import Path

from config.queries import Queries

QUERIES = Queries(Path(__file__).with_name("queries.sql"))
