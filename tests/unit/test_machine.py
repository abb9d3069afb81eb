"""What `make test` asks of the machine, on a made-up machine; and that CI is `make test` alone."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.waiting import WAIT_SECONDS

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "support" / "machine.sh"
# What the script itself runs; all of it is on the barest Debian.
BASICS = ("bash", "env", "chmod", "rm", "uname")
ORDINARY_USER = 1000
# Of the table, in its order; python3 stands for the venv module and for libatomic.
PACKAGES = {
    "python3": "python3-venv",
    "curl": "curl",
    "luacheck": "lua-check",
    "chromium": "chromium",
    "nginx": "nginx-light",
    "promtool": "prometheus",
}
APT_GET = """
echo "$*" >>"{log}"
test -x "$POLICY_RC_D" && "$POLICY_RC_D" || echo "policy $?" >>"{log}"
[ "$1" = update ] && exit 0
for command in {commands}; do
    printf '#!/bin/sh\\n' >"{folder}/$command"
    chmod +x "{folder}/$command"
done
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A folder that is the whole PATH."""

    folder: Path

    @property
    def log(self) -> Path:
        """What apt-get was asked for."""
        return self.folder.parent / "apt-get.log"

    @property
    def policy(self) -> Path:
        """What keeps Debian from starting the servers that it installs."""
        return self.folder.parent / "policy-rc.d"

    def add(self, command: str, text: str = "") -> None:
        path = self.folder / command
        path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
        path.chmod(0o755)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={"PATH": str(self.folder), "POLICY_RC_D": str(self.policy)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )

    def look(self, *commands: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(SCRIPT), *commands)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A bare Debian of an ordinary user, whose Python has no venv."""
    made = Machine(tmp_path / "bin")
    made.folder.mkdir()
    for name in BASICS:
        path = shutil.which(name)
        assert path
        (made.folder / name).symlink_to(path)
    made.add("id", f"echo {ORDINARY_USER}")
    made.add("python3", "exit 1")
    made.add(
        "apt-get", APT_GET.format(log=made.log, folder=made.folder, commands=" ".join(PACKAGES))
    )
    return made


def missing() -> list[str]:
    """The packages that a machine without any has to install."""
    here = shutil.which("nginx", path="/usr/sbin:/sbin") is not None  # looked for there too
    packages = [
        package for command, package in PACKAGES.items() if not (here and command == "nginx")
    ]
    return [*packages, "libatomic1"]


def test_an_ordinary_user_gets_one_line_with_everything(machine: Machine) -> None:
    done = machine.look()
    packages = " ".join(missing())
    assert done.stderr == (
        f"install first: sudo apt-get install -y --no-install-recommends {packages}\n"
    )
    assert done.stdout == ""
    assert done.returncode == 1
    assert not machine.log.exists()


def test_root_installs_it_and_no_server_starts(machine: Machine) -> None:
    machine.add("id", "echo 0")
    done = machine.look()
    assert done.returncode == 0, done.stderr
    packages = " ".join(missing())
    assert done.stdout == f"machine: installing {packages}\n"
    assert machine.log.read_text().splitlines() == [
        *("update -qq", "policy 101"),
        *(f"install -y -qq --no-install-recommends {packages}", "policy 101"),
    ]
    assert not machine.policy.exists(), "later packages may start what they like"


def test_a_policy_that_was_there_stays(machine: Machine) -> None:
    machine.add("id", "echo 0")
    machine.policy.write_text("#!/bin/sh\nexit 104\n")
    machine.policy.chmod(0o755)
    assert machine.look().returncode == 0
    assert machine.policy.read_text() == "#!/bin/sh\nexit 104\n"
    assert "policy 104" in machine.log.read_text()


def test_a_package_that_does_not_bring_its_command_is_said(machine: Machine) -> None:
    machine.add("id", "echo 0")
    machine.add("apt-get")
    done = machine.look("luacheck")
    assert done.stderr == "machine: installed, and still not found: luacheck\n"
    assert done.returncode == 1
    assert not machine.policy.exists()


def test_installed_servers_do_not_start_with_the_machine(machine: Machine) -> None:
    machine.add("id", "echo 0")
    machine.add("systemctl", f'echo "systemctl $*" >>"{machine.log}"')
    assert machine.look("promtool").returncode == 0
    lines = machine.log.read_text().splitlines()
    assert lines[-1] == "systemctl disable --quiet prometheus"
    assert sum(line.startswith("systemctl") for line in lines) == 1


def test_where_there_is_no_apt_the_commands_are_named(machine: Machine) -> None:
    (machine.folder / "apt-get").unlink()
    done = machine.look("luacheck", "promtool", "curl")
    assert done.stderr == "install first: curl luacheck promtool\n"
    assert done.returncode == 1


def test_a_machine_with_everything_is_left_alone(machine: Machine) -> None:
    for command in PACKAGES:
        machine.add(command)
    done = machine.look()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not machine.log.exists()


def test_any_chromium_will_do(machine: Machine) -> None:
    machine.add("google-chrome")
    assert machine.look("chromium").returncode == 0


def test_make_test_says_it_before_anything_else(machine: Machine) -> None:
    make = shutil.which("make")
    assert make
    done = machine.run(make, "test", f"VENV={machine.folder}/venv")
    assert done.returncode == 2
    assert done.stdout == ""
    said, *rest = done.stderr.splitlines()
    assert said.startswith("install first: sudo apt-get install ")
    assert [line.partition(":")[0] for line in rest] == ["make"], "make's own word that it failed"
    assert not (machine.folder / "venv").exists()


def test_every_program_that_tests_look_for_is_in_the_table() -> None:
    looked_for = {
        name
        for path in (ROOT / "tests").rglob("*.py")
        if path != Path(__file__)
        for name in re.findall(r'which\("(\w+)"', path.read_text(encoding="utf-8"))
    }
    assert looked_for == {"nginx", "promtool"}
    assert looked_for <= set(PACKAGES)


def test_the_table_is_documented() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    section = text.partition("## Programs for the tests")[2].partition("\n## ")[0]
    documented = set(re.findall(r"^\| ([a-z][\w-]+) \|", section, re.MULTILINE)) - {"package"}
    table = SCRIPT.read_text(encoding="utf-8").partition('TABLE="')[2].partition('"')[0]
    assert documented == {line.split()[1] for line in table.split("\n") if line}
    assert documented == {*PACKAGES.values(), "libatomic1"}


def test_ci_is_make_test_and_nothing_else() -> None:
    run = ROOT / ".ci" / "run"
    assert os.access(run, os.X_OK)
    lines = [line for line in run.read_text(encoding="utf-8").splitlines() if line[:1] != "#"]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "exec make test"]
