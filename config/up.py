"""`dropgate up`: the local servers and every process, started in order and kept running."""

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from config.ready import NAMES, ReadyFile
from config.settings import Settings
from config.sources import PREFIX, environment_of
from config.stack.folder import DataFolder
from config.stack.kafka import KafkaServer, check_available, create_topics
from config.stack.postgres import PostgresServer
from config.stack.process import POLL_SECONDS, Child, StackError, dropgate_command
from config.stack.redis import RedisServer
from config.stack.server import HOST, Server, free_port
from config.stack.supervisor import ProcessUnit, Supervisor
from config.waiting import poll_until

READY_TIMEOUT_SECONDS = 180.0
PROBE_TIMEOUT_SECONDS = 2.0
# Connections per worker that must find a ready worker: the kernel spreads connections by chance.
PROBES_PER_WORKER = 4
# Bounds on the three steps of a stop; together below the 10 s that a stop may take.
STOP_GATEWAY_SECONDS = 3.0
STOP_PROCESS_SECONDS = 2.5
STOP_SERVER_SECONDS = 3.5
# After so many restarts before `up` has served once, it gives up.
MAX_EARLY_RESTARTS = 5

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class UpOptions:
    """The options of the command line; port 0 means any free port."""

    event_log: str
    workers: int
    port: int
    ready_file: Path
    demo_shop: bool = False


class LocalStack:
    """Everything `dropgate up` runs on one locked data folder."""

    def __init__(self, settings: Settings, folder: DataFolder, options: UpOptions) -> None:
        self.folder = folder
        self.options = options
        self.redis = RedisServer(folder.path / "redis", overrides=_redis_overrides(settings))
        self.postgres = PostgresServer(folder.path / "postgres")
        self.kafka: KafkaServer | None = None
        if options.event_log == "kafka":
            check_available()
            self.kafka = KafkaServer(folder.path / "kafka")
        self._base = settings
        self._port_holder = socket.socket()
        self._port = self._hold_port(options.port)
        self.settings = settings
        self._supervisor = Supervisor(self._write_ready_file)
        self._serving = False

    @property
    def url(self) -> str:
        """The address of the gateway."""
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Start all and return when all serves. Raises `StackError`; call `stop` in any case."""
        servers: list[Server] = [
            server for server in (self.redis, self.postgres, self.kafka) if server is not None
        ]
        for server in servers:
            server.inherited = (self.folder.descriptor,)
            server.stop_timeout_seconds = STOP_SERVER_SECONDS
        await self._supervisor.start(servers)
        self.settings = self._settings_of_processes()
        await self._prepare_ledger_and_log()

        names = ["relay"] if self.kafka is not None else []
        await self._supervisor.start(
            [
                self._process(name, None, name.replace("_", "-"))
                for name in (*names, "order_writer", "reconciler")
            ]
        )
        await self._supervisor.start(
            [
                self._process("gateway", slot, "gateway", "--slot", str(slot))
                for slot in range(self.options.workers)
            ]
        )
        self._supervisor.keep()
        await self._wait_serving()
        self._serving = True
        self._write_ready_file()

    async def stop(self) -> None:
        """Stop everything within 10 s and leave no child. Idempotent."""
        self._serving = False
        await self._supervisor.stop()
        self.options.ready_file.unlink(missing_ok=True)
        self._port_holder.close()

    def ready_file(self) -> ReadyFile:
        """Addresses, secret and the current pids."""
        pids = self._supervisor.pids()
        secret = self.settings.auth.secret
        return ReadyFile(
            gateway=self.url,
            redis=self.redis.url,
            postgres=self.postgres.dsn,
            kafka=None if self.kafka is None else self.kafka.bootstrap,
            auth_secret="" if secret is None else secret.get_secret_value(),
            pids={name: pids[name] for name in NAMES if name in pids},
        )

    def _write_ready_file(self) -> None:
        if self._serving:
            self.ready_file().write(self.options.ready_file)

    def _hold_port(self, port: int) -> int:
        # The socket is bound and does not listen: workers share its port (SO_REUSEPORT), and no
        # other program gets the port while a worker is restarted.
        self._port_holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            self._port_holder.bind((HOST, port or free_port()))
        except OSError as error:
            raise StackError(
                f"port {port} cannot be used: {error.strerror}. "
                "Choose another with --port; 0 takes any free port"
            ) from error
        return int(self._port_holder.getsockname()[1])

    def _settings_of_processes(self) -> Settings:
        base = self._base
        event_log = {"kind": self.options.event_log}
        if self.kafka is not None:
            event_log["bootstrap"] = self.kafka.bootstrap
        gateway = {
            "host": HOST,
            "port": self._port,
            "workers": self.options.workers,
            "run_dir": self.folder.path / "run",
            "demo_shop": base.gateway.demo_shop or self.options.demo_shop,
        }
        secret = base.auth.secret or SecretStr(self.folder.secret())
        return base.model_copy(
            update={
                "redis": base.redis.model_copy(update={"url": self.redis.url}),
                "postgres": base.postgres.model_copy(update={"dsn": self.postgres.dsn}),
                "event_log": base.event_log.model_copy(update=event_log),
                "gateway": base.gateway.model_copy(update=gateway),
                "auth": base.auth.model_copy(update={"secret": secret}),
                # All processes run on one host with one setting, and only one could have the port.
                "metrics": base.metrics.model_copy(update={"port": 0}),
            }
        )

    async def _prepare_ledger_and_log(self) -> None:
        from order_writer.schema import migrate  # noqa: PLC0415 - only this step needs it

        applied = await migrate(self.postgres.dsn)
        _log.info("migrated", action="migrate", applied=applied)
        if self.kafka is not None:
            await create_topics(self.settings.event_log)

    def _process(self, name: str, slot: int | None, *arguments: str) -> ProcessUnit:
        inherited = {
            variable: value
            for variable, value in os.environ.items()
            if not variable.startswith(PREFIX)
        }
        suffix = "" if slot is None else f"-{slot}"
        child = Child(
            dropgate_command(*arguments),
            environment={**inherited, **environment_of(self.settings)},
            log=self.folder.logs / f"{name}{suffix}.log",
        )
        seconds = STOP_GATEWAY_SECONDS if name == "gateway" else STOP_PROCESS_SECONDS
        return ProcessUnit(name, child, stop_timeout_seconds=seconds)

    async def _wait_serving(self) -> None:
        answer = "no answer"

        async def serves() -> bool:
            nonlocal answer
            for _ in range(PROBES_PER_WORKER * self.options.workers):
                if self._supervisor.restarts >= MAX_EARLY_RESTARTS:
                    raise StackError(self._why_not_serving(answer))
                answer = await _probe(self._port)
                if not answer.startswith("HTTP/1.1 200"):
                    return False
            return self._supervisor.alive

        if not await poll_until(serves, READY_TIMEOUT_SECONDS, first_seconds=POLL_SECONDS):
            raise StackError(self._why_not_serving(answer))

    def _why_not_serving(self, answer: str) -> str:
        tails = [
            f"--- {unit.child.log}\n{unit.child.log_tail()}"
            for unit in self._supervisor.units
            if isinstance(unit, ProcessUnit)
        ]
        return "\n".join(
            [f"not serving; {self.url}/readyz answered: {answer}", "The ends of the logs:", *tails]
        )


def _redis_overrides(settings: Settings) -> dict[str, str]:
    """The lines of redis.conf, written for `fsync`, that another durability replaces."""
    if settings.redis.durability == "replica":
        raise StackError(
            "dropgate up has one Redis and no replica: set DROPGATE_REDIS__DURABILITY to fsync or "
            "relaxed, or run the processes themselves on your own servers"
        )
    if settings.redis.sentinels is not None:
        raise StackError(
            "dropgate up runs a Redis of its own, which no Sentinel watches: unset "
            "DROPGATE_REDIS__SENTINELS, or run the processes themselves on your own servers"
        )
    return {"appendfsync": "everysec"} if settings.redis.durability == "relaxed" else {}


async def _probe(port: int) -> str:
    """The answer of /readyz to a new connection, head and body; else why there is no answer."""
    request = f"GET /readyz HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                writer.write(request.encode())
                return (await reader.read(8192)).decode(errors="replace")
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError) as error:
        return f"no answer ({error!r})"
