"""Who takes part over HTTP: dropgate in several set-ups, bare echoes, and other designs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contestant:
    """`kind` is echo, design or dropgate; `mode` of dropgate is accept, ledger or sold_out."""

    name: str
    title: str
    kind: str
    mode: str = "accept"
    workers: int = 1


CONTESTANTS = (
    Contestant("echo", "aiohttp JSON echo", "echo"),
    Contestant("msgspec_echo", "aiohttp msgspec echo", "echo"),
    Contestant("dropgate_1", "dropgate, 1 worker", "dropgate"),
    Contestant("dropgate_1_sold_out", "dropgate, 1 worker, sold out", "dropgate", "sold_out"),
    Contestant("dropgate_1_ledger", "dropgate, 1 worker, into the ledger", "dropgate", "ledger"),
    Contestant("dropgate_2", "dropgate, 2 workers", "dropgate", workers=2),
    Contestant("redis_evalsha", "one redis-py EVALSHA per request", "design"),
    Contestant("redis_get_decr", "Redis: GET then DECR", "design"),
    Contestant("redis_decr_incr", "Redis: DECR then INCR", "design"),
    Contestant("redis_watch", "Redis: WATCH/MULTI", "design"),
    Contestant("lock_database", "Redis lock around a database", "design"),
    Contestant("postgres_conditional", "Postgres: conditional UPDATE + INSERT", "design"),
    Contestant("postgres_for_update", "Postgres: SELECT FOR UPDATE", "design"),
    Contestant("postgres_version", "Postgres: version compare-and-set", "design"),
    Contestant("postgres_skip_locked", "Postgres: row per unit, SKIP LOCKED", "design"),
)
TITLES = {contestant.name: contestant.title for contestant in CONTESTANTS}
