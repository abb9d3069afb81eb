"""All parts of the benchmarks, in the order in which they run and are reported."""

from loadtest.bench.parts.comparison import COMPARISON
from loadtest.bench.parts.engine import ENGINE
from loadtest.bench.parts.growth import GROWTH
from loadtest.bench.parts.headline import HEADLINE
from loadtest.bench.parts.http import HTTP
from loadtest.bench.parts.ledger import LEDGER
from loadtest.bench.parts.overload import OVERLOAD
from loadtest.bench.parts.part import Part
from loadtest.bench.parts.rebuild import REBUILD
from loadtest.bench.parts.verdicts import VERDICTS
from loadtest.bench.parts.waiting import WAITING
from loadtest.bench.parts.waiting_room import WAITING_ROOM

PARTS: tuple[Part, ...] = (
    HTTP,
    ENGINE,
    LEDGER,
    HEADLINE,
    WAITING,
    OVERLOAD,
    REBUILD,
    COMPARISON,
    GROWTH,
    WAITING_ROOM,
    VERDICTS,
)
