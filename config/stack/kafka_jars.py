"""Kafka's jars: those of `config/kafka/jars.lock`, from a Maven repository, each with its hash.

`make lock` writes the list with Maven, from `config/kafka/pom.xml`. Fetching needs no Java.
"""

import argparse
import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from jgo.constants import MAVEN_CENTRAL_URL

from config.stack.process import StackError
from config.waiting import Backoff

KAFKA = Path(__file__).parent.parent / "kafka"
JARS = KAFKA / "jars"
LOCK = KAFKA / "jars.lock"
POM = KAFKA / "pom.xml"
ATTEMPTS = 5
FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 8.0
TIMEOUT_SECONDS = 60.0
CONNECTIONS = 4
# Answers that another attempt may change.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock: Maven's coordinates and the hash of the file's bytes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Where a Maven repository keeps the file."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.name}"

    @property
    def line(self) -> str:
        """The jar as the lock has it."""
        return f"{self.group}:{self.artifact}:{self.version} sha256:{self.sha256}"


def read_lock(lock: Path = LOCK) -> tuple[Jar, ...]:
    """Every jar of the lock. Raises `StackError` at a line that is neither a jar nor a comment."""
    jars = []
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        coordinates, _, sha256 = line.partition(" sha256:")
        parts = coordinates.split(":")
        if len(parts) != 3 or len(sha256) != 64:
            raise StackError(f"{lock}: not a jar with its hash: {line}")
        group, artifact, version = parts
        jars.append(Jar(group, artifact, version, sha256))
    return tuple(jars)


def write_lock(repository: Path, lock: Path = LOCK, pom: Path = POM) -> None:
    """Lock every jar below `repository`, a folder with the layout of a Maven repository."""
    jars = []
    for file in repository.rglob("*.jar"):
        *group, artifact, version, _ = file.relative_to(repository).parts
        jar = Jar(".".join(group), artifact, version, sha256_of(file))
        if jar.name != file.name:
            raise StackError(f"{file.name} has a classifier, which {lock.name} has no place for")
        jars.append(jar)
    if not jars:
        raise StackError(f"no jar below {repository}")
    header = f'# Made by "make lock" from {pom.name} sha256:{sha256_of(pom)}'
    lock.write_text("\n".join([header, *sorted(jar.line for jar in jars), ""]), encoding="utf-8")


def missing(jars: Iterable[Jar], folder: Path = JARS) -> list[Jar]:
    """Those of `jars` of which `folder` has no file with the right hash."""
    return [
        jar
        for jar in jars
        if not (folder / jar.name).is_file() or sha256_of(folder / jar.name) != jar.sha256
    ]


def fetch(repository: str, folder: Path = JARS, lock: Path = LOCK) -> int:
    """Make `folder` hold exactly the lock's jars and return how many had to be fetched.

    A file appears under its name only when its hash is right. Raises `StackError` when a jar
    cannot be had, with the address and the reason.
    """
    if not repository.startswith(("https://", "http://")):
        raise StackError(f"not the address of a Maven repository: {repository!r}")
    jars = read_lock(lock)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {jar.name for jar in jars}
    for file in folder.glob("*.jar*"):
        if file.name not in wanted:  # an older jar would stand on the broker's class path too
            file.unlink()
    absent = missing(jars, folder)
    if not absent:
        return 0
    print(f"setup: Kafka's jars: {len(absent)} from {repository}", flush=True)
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        fetched = [threads.submit(_fetch_jar, jar, repository, folder) for jar in absent]
        try:
            for done, future in enumerate(as_completed(fetched), start=1):
                future.result()
                if done % 10 == 0:
                    print(f"setup: Kafka's jars: {done} of {len(absent)}", flush=True)
        except BaseException:
            threads.shutdown(wait=True, cancel_futures=True)
            raise
    return len(absent)


def _fetch_jar(jar: Jar, repository: str, folder: Path) -> None:
    url = f"{repository.rstrip('/')}/{jar.path}"
    content = _get(url)
    found = hashlib.sha256(content).hexdigest()
    if found != jar.sha256:
        raise StackError(f"{url} is not the locked file: sha256 {found} instead of {jar.sha256}")
    part = folder / f"{jar.name}.part"
    part.write_bytes(content)
    part.replace(folder / jar.name)


def _get(url: str) -> bytes:
    """The bytes at `url`. Raises `StackError` after the last attempt, or when none can help."""
    backoff = Backoff(FIRST_PAUSE_SECONDS, MOST_PAUSE_SECONDS)
    while True:
        try:
            # Proxies and certificates are those of the environment; the hash judges the bytes.
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
                content: bytes = answer.read()
                return content
        except (OSError, http.client.HTTPException) as error:
            final = False
            if isinstance(error, urllib.error.HTTPError):
                final = error.code not in PASSING_STATUSES
                error.close()
            if final or backoff.failures + 1 == ATTEMPTS:
                raise StackError(f"cannot fetch {url}: {error}") from error
        time.sleep(backoff.next_seconds())


def sha256_of(file: Path) -> str:
    """The hash of the file's bytes, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> int:
    """Fetch the jars, or with --lock write the list anew; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m config.stack.kafka_jars")
    parser.add_argument(
        "--repository", default=MAVEN_CENTRAL_URL, help="a Maven repository's address"
    )
    parser.add_argument("--lock", type=Path, metavar="FOLDER", help="lock the jars of this folder")
    options = parser.parse_args()
    try:
        if options.lock is not None:
            write_lock(options.lock)
        else:
            fetch(options.repository)
    except StackError as error:
        print(
            f"setup: {error}\n"
            "setup: a mirror of Maven Central is named by MAVEN_REPOSITORY=https://…",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
