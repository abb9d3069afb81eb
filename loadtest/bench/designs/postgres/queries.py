"""The statements of the reference designs that keep their stock in Postgres."""

from pathlib import Path

from config.queries import Queries

QUERIES = Queries(Path(__file__).with_name("queries.sql"))
