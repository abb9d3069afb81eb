"""The part `waiting_room`: a million buyers in a waiting room, by the scripts alone."""

from loadtest.bench.engine import rooms
from loadtest.bench.parts.part import Part
from loadtest.bench.results.measurements import Results
from loadtest.bench.results.rows import Row
from loadtest.bench.results.tables import Table, by_contestant


def _rows(results: Results) -> list[Row]:
    what, against = "Redis memory per waiting buyer", "every key of the room"
    for s in results.summaries():
        if (s.part, s.contestant, s.metric) == (rooms.PART, rooms.CONTESTANT, "bytes"):
            return [Row(what, against, 32, " bytes", s.median, s.setting, at_least=False)]
    return [Row(what, against, 32, " bytes", None, at_least=False)]


WAITING_ROOM = Part(
    name=rooms.PART,
    run=rooms.run_rooms,
    tables=(Table("A waiting room of a million, one Redis core", by_contestant(rooms.PART)),),
    rows=_rows,
)
