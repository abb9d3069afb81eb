"""Scripts with one typical mistake each; the property tests must find every mistake."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from lua.loader import Script


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` is replaced in every script it stands in.

    `seed` is the first run's seed; a seed other than 1 was searched for, as it finds the mistake.
    """

    name: str
    old: str
    new: str
    seed: int = 1

    def scripts(self, scripts: Mapping[str, Script]) -> dict[str, Script]:
        """All scripts, some of them with the mistake."""
        mutated = {}
        for name, script in scripts.items():
            source = script.source.replace(self.old.encode(), self.new.encode())
            sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
            mutated[name] = Script(name=name, source=source, sha=sha)
        assert mutated != scripts, f"no script says {self.old!r} any more: write {self.name} anew"
        return mutated


MUTANTS = (
    Mutant("one below the floor", "if left < partition", "if left + 1 < partition"),
    Mutant("one unit kept back", "if left < partition", "if left <= partition"),
    Mutant(
        "one beyond a location's floor",
        "room_at(partition, item, at, placed, places) >= quantity",
        "room_at(partition, item, at, placed, places) + 1 >= quantity",
    ),
    Mutant("one above the limit", "+ wanted > limit", "+ wanted > limit + 1"),
    Mutant("lines counted one by one", "(units[item] or 0) + quantity", "quantity"),
    Mutant(
        "a total that what is taken leaves alone",
        "partition.totals[number] = available_of(partition, number) + quantity",
        "",
    ),
    Mutant("a total kept nowhere", "string.format('%d', partition.totals[number])", "'3'"),
    Mutant(
        "a look ahead that misses a change",
        "if partition.stock[index] then return partition.stock[index].available end",
        "",
    ),
    Mutant(
        "one account's stock for all",
        "{available = counters[2 * i - 1]",
        "{available = counters[1]",
    ),
    Mutant(
        "a counter kept nowhere",
        "counters[name] + quantity, true",
        "counters[name] + quantity, nil",
    ),
    Mutant("split without leave", "if not partition.split then return false end", ""),
    Mutant("a deadline late by one", "[DEADLINE] <= partition.now", "[DEADLINE] < partition.now"),
    Mutant(
        "a limit that never comes back",
        "add_count(buyer, item_of(partition, lines[i]), -lines[i + 1])",
        "add_count(buyer, item_of(partition, lines[i]), 0)",
    ),
    Mutant(
        "an extension without end", ".extension_ms - record[EXTENDED_MS]", ".extension_ms", seed=9
    ),
    Mutant(
        "a unit returned twice",
        "local quantity = record[LINES][i + 1] - (returned[record[LINES][i]] or 0)",
        "local quantity = record[LINES][i + 1]",
    ),
    Mutant(
        "a late answer without its event",
        "expire_if_due(partition, token, record)\nif record[STATE] == EXPIRED then",
        "if record[STATE] == EXPIRED or is_due(partition, record) then",
    ),
    Mutant(
        "a late replay without its event",
        "expire_if_due(partition, token, record)\n    return {number, 'replayed'",
        "return {number, 'replayed'",
    ),
    Mutant(
        "a late read without its event",
        "if record then expire_if_due(partition, token, record) end\n  found",
        "found",
    ),
    Mutant(
        "an outage that moves what is resolved",
        "record[STATE] == HELD and partition.meta.shift or 0",
        "partition.meta.shift",
    ),
    Mutant(
        "a resolved deadline on a clock that stops",
        "record[DEADLINE] = record[DEADLINE] + partition.meta.shift\n",
        "",
    ),
    Mutant(
        "a clock set back that lengthens holds", "meta.shift = meta.shift - ahead", "local _ = meta"
    ),
    Mutant("an outage that eats holds", "meta.shift = meta.shift + outage", ""),
    Mutant("an event without what returns", "lines_json(partition, released)", "'[]'"),
    Mutant("any server run will do", "run_id ~= meta.run_id or", "", seed=4),
    Mutant("any epoch will do", "or tonumber(epoch) ~= meta.epoch", ""),
    Mutant(
        "one event beyond the bound", ">= partition.meta.outbox", "> partition.meta.outbox", seed=7
    ),
    Mutant(
        "sold out while holds are due",
        "if partition.still_due then return {number, 'overloaded'} end",
        "",
    ),
    Mutant(
        "an admission that is not spent",
        "if admission then set_number(buyer, ADMISSION, admission) end",
        "",
        seed=2,
    ),
    Mutant(
        "an admission spent by a refusal",
        "return {number, 'sold_out', short, own_holds(partition, buyer)}",
        "set_number(buyer, ADMISSION, request[6]); partition.changed_buyers[buyer_id] = true; "
        "return {number, 'sold_out', short, own_holds(partition, buyer)}",
    ),
    Mutant(
        "an event without its admission",
        "(admission and string.format(",
        "(nil and string.format(",
        seed=2,
    ),
    Mutant("an admission late by one", "[7] <= partition.wall", "[7] < partition.wall", seed=2),
    Mutant("one above the rate", "if room < 0 then", "if room + buckets.interval < 0 then"),
    Mutant("a rate that forgets", "if #fields == 0 then return end", "do return end"),
    Mutant(
        "a rate that refusals use up",
        "if room < 0 then return",
        "if room < 0 then buckets.full_at[buyer] = full_at; buckets.changed[buyer] = true; return",
    ),
    Mutant(
        "a rate of one turn",
        "read_turn(buckets, buckets.last, buckets.turn - 1, buyers)",
        "",
        seed=4,
    ),
    Mutant(
        "unpaid for good", "return window <= count_of(buyer, UNPAID_WINDOW) and", "return true and"
    ),
    Mutant(
        "unpaid and forgotten at once",
        "window <= count_of(buyer, UNPAID",
        "window < count_of(buyer, UNPAID",
    ),
    Mutant(
        "a window that adds to the one before",
        "set_number(buyer, UNPAID, 1)",
        "set_number(buyer, UNPAID, count_of(buyer, UNPAID) + 1)",
    ),
    Mutant("one unpaid too many", "holds >= partition.unpaid", "holds > partition.unpaid", seed=10),
    Mutant("a cool-down that does not grow", "first_ms * 2 ^ ", "first_ms * 1 ^ "),
    Mutant("a cool-down for who has paid", "if state ~= CONFIRMED then", "if true then"),
    Mutant("an extension made twice", "local before = key ~= '' and", "local before = nil and"),
    Mutant("an extension's key kept nowhere", "keep_extend_key(record, key, asked)", ""),
    Mutant(
        "an event without its key",
        "key == '' and '' or string.format(',\"extend_key",
        "true and '' or string.format(',\"extend_key",
    ),
    Mutant("an adjustment made twice", "if outcome then return answer(outcome, sequence) end", ""),
    Mutant("a key kept nowhere", "store_adjustments(partition.keys, made)", ""),
    Mutant(
        "a watermark that goes back",
        "if watermark < known then return reply(partition, {0, known}) end",
        "",
    ),
)
