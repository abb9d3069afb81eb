"""The gateway's side of Postgres: bounded connections, statements, audit rows."""
