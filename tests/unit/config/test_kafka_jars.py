"""Kafka's jars: the lock against the pom and the files, and fetching from a made-up repository."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from config.stack import kafka_jars
from config.stack.kafka_jars import JARS, LOCK, POM, fetch, missing, read_lock, write_lock
from config.stack.process import StackError

MAVEN = "{http://maven.apache.org/POM/4.0.0}"
CONTENTS = {"one": b"first jar", "two": b"second jar"}


def path_of(artifact: str) -> str:
    return f"org/example/{artifact}/1.0/{artifact}-1.0.jar"


class Repository(ThreadingHTTPServer):
    """Serves `files` by path; the first answers are those of `failures`, while there are any."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = {f"/maven2/{path_of(name)}": content for name, content in CONTENTS.items()}
        self.failures: list[int] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """As `MAVEN_REPOSITORY` names it."""
        return f"http://127.0.0.1:{self.server_port}/maven2"


class Handler(BaseHTTPRequestHandler):
    """A failure closes the connection, in the middle of the answer where its status is 200."""

    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path)
        status = 404 if content is None else 200
        failed = bool(self.server.failures)
        if failed:
            status = self.server.failures.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content or b"") + failed))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Keep the test's output clean."""


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    monkeypatch.setattr(kafka_jars, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(kafka_jars, "CONNECTIONS", 1)
    server = Repository()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """The two jars of `CONTENTS`, locked."""
    for name, content in CONTENTS.items():
        file = tmp_path / "repository" / path_of(name)
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
    path = tmp_path / "jars.lock"
    write_lock(tmp_path / "repository", path)
    return path


def held(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


ALL_HELD = {f"{name}-1.0.jar": content for name, content in CONTENTS.items()}


def test_the_lock_was_made_from_this_pom() -> None:
    header = LOCK.read_text(encoding="utf-8").splitlines()[0]
    made_from = hashlib.sha256(POM.read_bytes()).hexdigest()
    assert header == f'# Made by "make lock" from pom.xml sha256:{made_from}'


def test_every_jar_that_the_pom_names_is_locked_in_its_version() -> None:
    pom = ET.fromstring(POM.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    properties = {
        element.tag.removeprefix(MAVEN): element.text or ""
        for element in pom.iterfind(f"{MAVEN}properties/*")
    }
    named = {
        (
            dependency.findtext(f"{MAVEN}groupId"),
            dependency.findtext(f"{MAVEN}artifactId"),
            re.sub(
                r"\$\{(.+?)\}",
                lambda match: properties[match[1]],
                dependency.findtext(f"{MAVEN}version") or "",
            ),
        )
        for dependency in pom.iterfind(f"{MAVEN}dependencies/{MAVEN}dependency")
    }
    assert named
    assert named <= {(jar.group, jar.artifact, jar.version) for jar in read_lock()}


def test_the_broker_runs_on_exactly_the_locked_jars() -> None:
    jars = read_lock()
    assert {file.name for file in JARS.glob("*.jar")} == {jar.name for jar in jars}
    assert len({jar.name for jar in jars}) == len(jars)
    assert missing(jars) == []


def test_a_lock_has_coordinates_and_hashes_in_order(lock: Path) -> None:
    one, two = (hashlib.sha256(content).hexdigest() for content in CONTENTS.values())
    assert lock.read_text().splitlines()[1:] == [
        f"org.example:one:1.0 sha256:{one}",
        f"org.example:two:1.0 sha256:{two}",
    ]
    assert [jar.path for jar in read_lock(lock)] == [path_of("one"), path_of("two")]


def test_a_jar_with_a_classifier_is_not_locked_by_a_wrong_name(lock: Path, tmp_path: Path) -> None:
    (tmp_path / "repository" / "org/example/one/1.0/one-1.0-linux.jar").write_bytes(b"")
    with pytest.raises(StackError, match="classifier"):
        write_lock(tmp_path / "repository", lock)


@pytest.mark.parametrize("line", ["org.example:one:1.0", "org.example:one sha256:" + "0" * 64])
def test_a_line_that_is_no_jar_is_refused(lock: Path, line: str) -> None:
    lock.write_text(line)
    with pytest.raises(StackError, match="not a jar with its hash"):
        read_lock(lock)


def test_what_is_missing_is_fetched_once(
    repository: Repository, lock: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "jars"
    assert fetch(repository.url + "/", folder, lock) == 2
    assert held(folder) == ALL_HELD
    assert fetch(repository.url, folder, lock) == 0
    assert len(repository.asked) == 2


def test_a_damaged_jar_is_fetched_again_and_an_older_one_goes(
    repository: Repository, lock: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "jars"
    fetch(repository.url, folder, lock)
    (folder / "one-1.0.jar").write_bytes(b"half")
    (folder / "one-0.9.jar").write_bytes(b"older")
    assert fetch(repository.url, folder, lock) == 1
    assert held(folder) == ALL_HELD


def test_a_file_with_another_hash_never_gets_the_name(
    repository: Repository, lock: Path, tmp_path: Path
) -> None:
    repository.files[f"/maven2/{path_of('two')}"] = b"something else"
    folder = tmp_path / "jars"
    with pytest.raises(StackError, match=r"two-1\.0\.jar is not the locked file"):
        fetch(repository.url, folder, lock)
    assert held(folder) == {"one-1.0.jar": CONTENTS["one"]}


@pytest.mark.parametrize("status", [200, 429, 503])
def test_what_may_pass_is_tried_again(
    repository: Repository, lock: Path, tmp_path: Path, status: int
) -> None:
    repository.failures = [status] * 4
    assert fetch(repository.url, tmp_path / "jars", lock) == 2
    assert len(repository.asked) == 6
    assert held(tmp_path / "jars") == ALL_HELD


def test_attempts_are_bounded(repository: Repository, lock: Path, tmp_path: Path) -> None:
    repository.failures = [503] * 100
    with pytest.raises(StackError, match=r"cannot fetch .*503"):
        fetch(repository.url, tmp_path / "jars", lock)
    assert repository.asked.count(repository.asked[0]) == 5


def test_a_repository_without_the_jar_is_asked_once(
    repository: Repository, lock: Path, tmp_path: Path
) -> None:
    repository.files.clear()
    with pytest.raises(StackError, match=r"cannot fetch .*404"):
        fetch(repository.url, tmp_path / "jars", lock)
    assert len(set(repository.asked)) == len(repository.asked)


@pytest.mark.parametrize("address", ["", "file:///etc", "repo.example"])
def test_only_an_address_of_the_web_is_a_repository(
    lock: Path, tmp_path: Path, address: str
) -> None:
    with pytest.raises(StackError, match="not the address of a Maven repository"):
        fetch(address, tmp_path / "jars", lock)


def test_nobody_there_is_an_error_with_the_address(
    repository: Repository, lock: Path, tmp_path: Path
) -> None:
    with pytest.raises(StackError, match=r"cannot fetch http://127\.0\.0\.1:1/org/example"):
        fetch("http://127.0.0.1:1", tmp_path / "jars", lock)
    assert repository.asked == []
