"""The client module by itself, in a page that is not ours, before a gateway that is faked."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route

from tests.browser.visitor import NewVisitor, answered

GATE = """
import("/client/v1/dropgate.js").then((module) => {
  window.Problem = module.Problem;
  window.gate = new module.Dropgate({ sale: "drop", token: () => "token" });
})
"""
LINES = [{"sku": "poster", "quantity": 1}]
RESERVE = """
gate.reserve(%s).then(
  ({ reservation, replayed }) => ({ state: reservation.state, replayed }),
  (error) => ({ code: error.code }))
"""


@pytest_asyncio.fixture
async def page(new_visitor: NewVisitor) -> AsyncIterator[Page]:
    """A page of the gateway's origin that runs nothing of its own: a file as text."""
    visitor = await new_visitor("/client/v1/dropgate.js")
    await visitor.page.evaluate(GATE)
    yield visitor.page


def reserve_call(lines: object = LINES) -> str:
    return RESERVE % str(lines).replace("'", '"')


def reservation(state: str = "held", **changes: object) -> dict[str, Any]:
    return {"reservation_id": "drop.0.a", "state": state, "lines": LINES} | changes


async def keys_of(page: Page, *answers: tuple[int, str]) -> list[str | None]:
    """Answer reserves with `answers` in turn, repeating the last; returns the keys they carried."""
    keys: list[str | None] = []

    async def answer(route: Route) -> None:
        status, word = answers[min(len(keys), len(answers) - 1)]
        keys.append(await route.request.header_value("idempotency-key"))
        if status == 0:
            await route.abort()
        elif status == 201:
            replayed = {"Idempotent-Replayed": "true"} if keys.count(keys[-1]) > 1 else {}
            await route.fulfill(status=201, json=reservation(word), headers=replayed)
        else:
            await answered(route, status, word, **{"Retry-After": "0"})

    await page.route("**/reservations", answer)
    return keys


async def test_a_lost_answer_and_a_busy_gateway_are_met_with_the_same_key(page: Page) -> None:
    keys = await keys_of(page, (0, ""), (503, "overloaded"), (429, "rate_limited"), (201, "held"))
    assert await page.evaluate(reserve_call()) == {"state": "held", "replayed": True}
    assert len(keys) == 4
    assert len(set(keys)) == 1


async def test_a_reload_repeats_the_attempt_and_does_not_begin_another(page: Page) -> None:
    keys = await keys_of(page, (201, "held"))
    await page.evaluate(reserve_call())
    await page.reload()
    await page.evaluate(GATE)
    assert await page.evaluate("gate.unfinished") is None
    assert await page.evaluate(reserve_call()) == {"state": "held", "replayed": True}
    assert len(set(keys)) == 1


async def test_other_lines_and_a_refusal_and_the_end_of_a_hold_begin_a_new_attempt(
    page: Page,
) -> None:
    keys = await keys_of(page, (409, "sold_out"), (201, "expired"), (201, "expired"))
    assert await page.evaluate(reserve_call()) == {"code": "sold_out"}
    await page.evaluate(reserve_call())
    assert len(set(keys)) == 2
    await page.evaluate(reserve_call())  # its replay says that the first hold is over
    assert len(set(keys)) == 3
    await page.evaluate(reserve_call([{"sku": "poster", "quantity": 2}]))
    assert len(set(keys)) == 4


async def test_what_will_not_pass_is_told_at_once(page: Page) -> None:
    keys = await keys_of(page, (422, "invalid"))
    assert await page.evaluate(reserve_call()) == {"code": "invalid"}
    assert len(keys) == 1


async def extensions_of(page: Page, *answers: tuple[int, str]) -> list[str | None]:
    """As `keys_of`, for extensions."""
    keys: list[str | None] = []

    async def answer(route: Route) -> None:
        status, word = answers[min(len(keys), len(answers) - 1)]
        keys.append(await route.request.header_value("idempotency-key"))
        if status == 0:
            await route.abort()
        elif status == 200:
            await route.fulfill(status=200, json=reservation(word))
        else:
            await answered(route, status, word, **{"Retry-After": "0"})

    await page.route("**/extend", answer)
    return keys


async def extended(page: Page, seconds: int = 60) -> Any:
    return await page.evaluate(
        "(seconds) => gate.extend('drop.0.a', seconds).then(({ state }) => state,"
        " (error) => error.code)",
        seconds,
    )


async def test_a_lost_extension_is_repeated_with_its_key(page: Page) -> None:
    keys = await extensions_of(page, (0, ""), (503, "recovering"), (200, "held"))
    assert await extended(page) == "held"
    assert len(keys) == 3
    assert None not in keys
    assert len(set(keys)) == 1


async def test_each_extension_has_a_key_of_its_own_once_the_one_before_is_answered(
    page: Page,
) -> None:
    keys = await extensions_of(page, (200, "held"), (410, "hold_expired"), (200, "held"))
    assert [await extended(page) for _ in range(3)] == ["held", "hold_expired", "held"]
    assert len(set(keys)) == 3


async def test_an_extension_without_an_answer_is_found_after_a_reload(page: Page) -> None:
    keys = await extensions_of(page, (0, ""), (200, "held"))
    await page.evaluate(
        """
        (async () => {
          const stop = new AbortController();
          const waiting = gate.extend("drop.0.a", 60, {
            signal: stop.signal, onWait: () => stop.abort(),
          });
          await waiting.catch(() => null);
        })()
        """
    )
    await page.reload()
    await page.evaluate(GATE)
    assert await extended(page) == "held"
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert await extended(page, seconds=30) == "held"
    assert len(set(keys)) == 2


async def test_a_refused_token_is_asked_for_anew_once(page: Page) -> None:
    told = await page.evaluate(
        """
        (async () => {
          const { Dropgate } = await import("/client/v1/dropgate.js");
          const asked = [];
          const token = (rejected) => {
            asked.push(rejected ?? null);
            return `token-${asked.length}`;
          };
          const gate = new Dropgate({ sale: "drop", token });
          const code = await gate.orders().catch((error) => error.code);
          return { code, asked };
        })()
        """
    )
    assert told == {"code": "unauthenticated", "asked": [None, "token-1"]}


async def test_the_clock_finds_the_servers_time_from_seconds_alone(page: Page) -> None:
    """The device is 90 s behind; answers take 40 ms each way and say whole seconds only."""
    off_by_ms = await page.evaluate(
        """
        (async () => {
          const { ServerClock } = await import("/client/v1/clock.js");
          let device = 1_700_000_000_123;
          const clock = new ServerClock(() => device);
          const learn = (behindMs) => {
            const askedAt = device;
            device += 80;
            const seconds = Math.floor((askedAt + 40 + behindMs) / 1000);
            clock.learn(new Headers({ Date: new Date(seconds * 1000).toUTCString() }), askedAt);
          };
          for (let n = 0; n < 12; n += 1) { device += 290; learn(90_000); }
          const first = Math.abs(clock.now() - device - 90_000);
          clock.learn(new Headers({ Date: new Date(0).toUTCString(), Age: "7" }), device);
          const cached = Math.abs(clock.now() - device - 90_000);
          for (let n = 0; n < 12; n += 1) { device += 290; learn(-5000); }
          return [first, cached, Math.abs(clock.now() - device + 5000)];
        })()
        """
    )
    assert max(off_by_ms) < 150


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_events_are_read_however_they_are_cut(page: Page, size: int) -> None:
    text = ": hello\r\n\r\nid: 7\r\ndata: {\r\ndata: }\r\n\r\n"
    text += "event: place\ndata:x\n\nretry: 20\rdata: y\r\r"
    read = await page.evaluate(
        """
        async ([text, size]) => {
          const { eventsOf } = await import("/client/v1/event_stream.js");
          const bytes = new TextEncoder().encode(text);
          const stream = new ReadableStream({ start(controller) {
            for (let at = 0; at < bytes.length; at += size) {
              controller.enqueue(bytes.slice(at, at + size));
            }
            controller.enqueue(new TextEncoder().encode("\\n"));
            controller.close();
          } });
          const all = [];
          for await (const event of eventsOf(stream)) all.push(event);
          return all;
        }
        """,
        [text, size],
    )
    assert read == [
        {"event": "message", "data": "{\n}", "id": "7", "retryMs": None},
        {"event": "place", "data": "x", "id": None, "retryMs": None},
        {"event": "message", "data": "y", "id": None, "retryMs": 20},
    ]


FOLLOW = """
(async () => {
  const seen = [];
  for await (const place of gate.queue.places()) seen.push([place.state, place.ahead]);
  return seen;
})()
"""


def place(state: str, ahead: int, **more: object) -> dict[str, Any]:
    return {"ticket": "t", "state": state, "ahead": ahead, "poll_after_seconds": 0.05} | more


async def test_a_cut_stream_goes_on_where_it_was(page: Page) -> None:
    last_seen: list[str | None] = []

    async def stream(route: Route) -> None:
        assert await route.request.header_value("queue-ticket") == "t"
        last_seen.append(await route.request.header_value("last-event-id"))
        events = [("1", '{"state":"waiting","ahead":7}'), ("2", '{"state":"admitted","ahead":0}')]
        number, data = events[len(last_seen) - 1]
        body = f": hello\n\nid: {number}\ndata: {data}\n\n"
        await route.fulfill(body=body, content_type="text/event-stream")

    await page.route("**/queue", lambda route: route.fulfill(status=201, json=place("waiting", 9)))
    await page.route("**/queue/events", stream)
    assert await page.evaluate(FOLLOW) == [["waiting", 9], ["waiting", 7], ["admitted", 0]]
    assert last_seen == [None, "1"]


async def test_where_streams_do_not_get_through_it_polls(page: Page) -> None:
    looks: list[int] = []

    async def queue(route: Route) -> None:
        if route.request.method == "POST":
            await route.fulfill(status=201, json=place("waiting", 9))
            return
        looks.append(9 - len(looks))
        done = len(looks) == 3
        now = place("admitted", 0, admission_token="pass") if done else place("waiting", looks[-1])
        await route.fulfill(json=now)

    await page.route("**/queue", queue)
    await page.route("**/queue/events", lambda route: answered(route, 404, "not_found"))
    seen = await page.evaluate(FOLLOW)
    assert seen == [["waiting", 9], ["waiting", 9], ["waiting", 8], ["admitted", 0]]

    admissions: list[str | None] = []

    async def take(route: Route) -> None:
        admissions.append(await route.request.header_value("admission-token"))
        await route.fulfill(status=201, json=reservation())

    await page.route("**/reservations", take)
    await page.evaluate(reserve_call())
    await page.evaluate(reserve_call([{"sku": "poster", "quantity": 2}]))
    assert admissions == ["pass", None]
