"""Reference designs that keep their stock in Postgres."""
