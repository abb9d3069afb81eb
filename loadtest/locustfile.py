"""Locust scenarios against a running `dropgate up`, ending with the verdict.

    locust -f loadtest/locustfile.py --ready-file var/ready.json --sale my-sale
    locust -f loadtest/locustfile.py --headless --users 50 --spawn-rate 50 --run-time 20s ...

The sale must be open; without `--sale` one is made from config/sales/demo.json. When the load ends,
what the users sent and saw goes to the verdict in a process of its own (this one's sockets belong
to gevent); its exit status becomes Locust's. A scenario is a user class, chosen by its name.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from argparse import ArgumentParser
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from locust import FastHttpUser, between, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.calls import RefusedError
from loadtest.history import NO_ANSWER, Attempt, History
from loadtest.target import Target, mint_token

DEMO_SALE = Path(__file__).parent.parent / "config" / "sales" / "demo.json"
OPERATIONS_TIMEOUT_SECONDS = 30.0
VERDICT_TIMEOUT_SECONDS = 300.0


class Run:
    """What all users of this process share."""

    def __init__(self, ready_file: str, target: Target, sale_id: str, skus: list[str]) -> None:
        """Start with an empty history; it is never complete: others may use the same sale."""
        self.target = target
        self.sale_id = sale_id
        self.skus = skus
        self.ready_file = ready_file
        self.history = History(complete=False)
        self.storefront = mint_token(target.auth_secret, "storefront", "locust-shop")


_runs: dict[Environment, Run] = {}


def add_options(parser: ArgumentParser) -> None:
    """What to load; also from the environment, for `dropgate loadtest` and the web UI."""
    parser.add_argument(
        "--ready-file",
        default=os.environ.get("DROPGATE_TEST_READY_FILE", "var/ready.json"),
        help="ready file of dropgate up",
    )
    parser.add_argument(
        "--sale",
        default=os.environ.get("DROPGATE_TEST_SALE", ""),
        help="an open sale (default: a new one from config/sales/demo.json)",
    )


def _operate(target: Target, method: str, path: str, body: bytes | None = None) -> Any:
    connection = HTTPConnection(urlsplit(target.gateway).netloc, timeout=OPERATIONS_TIMEOUT_SECONDS)
    headers = {
        "Authorization": f"Bearer {mint_token(target.auth_secret, 'ops', 'locust')}",
        "Content-Type": "application/json",
    }
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.read()
    finally:
        connection.close()
    if response.status not in {200, 201}:
        message = f"{method} {path}: {response.status} {answer.decode()}"
        raise RefusedError(message)
    return msgspec.json.decode(answer)


def prepare(environment: Environment, **_: object) -> None:
    """Find the system, make the sale where none is named."""
    if isinstance(environment.runner, MasterRunner) or environment.parsed_options is None:
        return
    options = environment.parsed_options
    target = Target.from_ready_file(Path(options.ready_file))
    environment.host = environment.host or target.gateway
    sale_id = options.sale
    if not sale_id:
        sale_id = f"locust-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
        _operate(target, "PUT", f"/v1/sales/{sale_id}", DEMO_SALE.read_bytes())
        _operate(target, "POST", f"/v1/sales/{sale_id}/open", b"{}")
    shown = _operate(target, "GET", f"/v1/sales/{sale_id}")
    _runs[environment] = Run(
        options.ready_file, target, sale_id, [item["sku"] for item in shown["items"]]
    )


def judge(environment: Environment, **_: object) -> None:
    """Print the verdict; a broken invariant makes Locust end with status 1."""
    run = _runs.get(environment)
    if run is None or isinstance(environment.runner, WorkerRunner):
        return
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "history.jsonl"
        run.history.write(history)
        command = [
            *(sys.executable, "-m", "loadtest", "verify", run.sale_id),
            *("--ready-file", run.ready_file, "--history", str(history)),
        ]
        done = subprocess.run(command, check=False, timeout=VERDICT_TIMEOUT_SECONDS)
    if done.returncode != 0:
        environment.process_exit_code = done.returncode


# Locust publishes no types for its hooks.
events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
events.init.add_listener(prepare)  # type: ignore[no-untyped-call]
events.quitting.add_listener(judge)  # type: ignore[no-untyped-call]


class Checkout(FastHttpUser):
    """A buyer after another: reserve, sometimes again with the same key, then pay or give back."""

    wait_time = between(0.05, 0.5)

    def on_start(self) -> None:
        """Share the run of this environment."""
        self.run_ = _runs[self.environment]

    def _send(
        self, method: str, path: str, name: str, attempt: dict[str, str], **arguments: Any
    ) -> Attempt:
        """One request, counted by Locust (4xx is an answer, not a failure) and remembered."""
        token = (
            self.run_.storefront
            if attempt["caller"] == "storefront"
            else mint_token(self.run_.target.auth_secret, "buyer", attempt["buyer_id"])
        )
        headers = {"Authorization": f"Bearer {token}"}
        if "key" in attempt:
            headers["Idempotency-Key"] = attempt["key"]
        started_at, clock = time.time(), time.perf_counter()
        with self.client.request(
            method, path, name=name, headers=headers, catch_response=True, **arguments
        ) as response:
            status = response.status_code or NO_ANSWER
            if 400 <= status < 500:
                response.success()
            raw = response.content or b"{}"
        body = msgspec.json.decode(raw) if status != NO_ANSWER else {}
        known = Attempt(
            call=attempt["call"],
            caller=attempt["caller"],
            buyer_id=attempt["buyer_id"],
            key=attempt.get("key", ""),
            reservation_id=attempt.get("reservation_id", ""),
            status=status,
            started_at=started_at,
            seconds=time.perf_counter() - clock,
            code=body.get("code", ""),
            owner=body.get("buyer_id", ""),
            replayed="Idempotent-Replayed" in (response.headers or {}),
            retry_after="Retry-After" in (response.headers or {}),
            shown=tuple(hold["reservation_id"] for hold in body.get("own_holds", ())),
            state=body.get("state", ""),
            units=sum(line["quantity"] for line in body.get("lines", ())),
            expires_at=body.get("expires_at", ""),
        )
        if known.call == "reserve":
            known = msgspec.structs.replace(known, reservation_id=body.get("reservation_id", ""))
        self.run_.history.add(known)
        return known

    def _reserve(self, buyer_id: str, key: str, sku: str) -> Attempt:
        return self._send(
            "POST",
            f"/v1/sales/{self.run_.sale_id}/reservations",
            "reserve",
            {"call": "reserve", "caller": "buyer", "buyer_id": buyer_id, "key": key},
            json={"lines": [{"sku": sku, "quantity": 1}]},
        )

    def _about(
        self, call: str, caller: str, reserved: Attempt, body: dict[str, str] | None = None
    ) -> Attempt:
        path = f"/v1/reservations/{reserved.reservation_id}"
        asked = {
            "call": call,
            "caller": caller,
            "buyer_id": reserved.buyer_id,
            "reservation_id": reserved.reservation_id,
        }
        if call == "read":
            return self._send("GET", path, call, asked)
        return self._send("POST", f"{path}/{call}", call, asked, json=body or {})

    @task
    def buy(self) -> None:
        """One buyer's visit."""
        buyer_id, sku = f"locust-{uuid.uuid4().hex}", random.choice(self.run_.skus)
        key = f"{buyer_id}-1"
        reserved = self._reserve(buyer_id, key, sku)
        if reserved.status == NO_ANSWER or random.random() < 0.2:
            reserved = self._reserve(buyer_id, key, sku)
        if not reserved.accepted:
            return
        choice = random.random()
        if choice < 0.1:
            self._about("read", "buyer", reserved)
        if choice < 0.75:
            paid = {"payment_reference": f"pay-{reserved.reservation_id[-12:]}"}
            self._about("confirm", "storefront", reserved, paid)
            if choice < 0.05:
                self._about("confirm", "storefront", reserved, paid)
        elif choice < 0.9:
            self._about("cancel", "buyer", reserved)
