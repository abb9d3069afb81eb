"""The loader: textual includes, once each, and mistakes named by file and line."""

import hashlib
from pathlib import Path

import pytest

from lua.loader import HERE, LEASES, ScriptError, load_script, load_scripts


def _write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_an_include_stands_where_it_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "include/b.lua", "local b = 2")
    path = _write(tmp_path, "a.lua", "local a = 1\n-- @include b\nreturn a + b\n")
    script = load_script(path)
    assert script.name == "a"
    assert script.source == b"local a = 1\nlocal b = 2\nreturn a + b\n"


def test_the_sha_is_that_of_the_source_as_sent(tmp_path: Path) -> None:
    script = load_script(_write(tmp_path, "a.lua", "return 'ü'"))
    assert script.sha == hashlib.sha1(script.source, usedforsecurity=False).hexdigest()


def test_an_include_is_taken_once_however_often_it_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "include/base.lua", "local base = 0")
    _write(tmp_path, "include/left.lua", "-- @include base\nlocal left = base")
    _write(tmp_path, "include/right.lua", "-- @include base\nlocal right = base")
    path = _write(tmp_path, "a.lua", "-- @include left\n-- @include right\n-- @include left\n")
    assert load_script(path).source == b"local base = 0\nlocal left = base\nlocal right = base\n"


@pytest.mark.parametrize(
    "line",
    ["--@include b", " -- @include b", "-- @include", "-- @include b c", "-- see @include b"],
)
def test_only_the_exact_line_includes(tmp_path: Path, line: str) -> None:
    path = _write(tmp_path, "a.lua", line)
    assert load_script(path).source.decode() == line + "\n"


def test_a_missing_include_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = _write(tmp_path, "a.lua", "-- a\n\n-- @include nowhere\n")
    with pytest.raises(ScriptError) as caught:
        load_script(path)
    assert str(caught.value).startswith(f"{path}:3: no include named nowhere")


def test_a_missing_include_of_an_include_is_named_there(tmp_path: Path) -> None:
    inner = _write(tmp_path, "include/b.lua", "-- b\n-- @include nowhere\n")
    path = _write(tmp_path, "a.lua", "-- @include b\n")
    with pytest.raises(ScriptError) as caught:
        load_script(path)
    assert str(caught.value).startswith(f"{inner}:2: no include named nowhere")


def test_a_circle_is_named_where_it_closes(tmp_path: Path) -> None:
    _write(tmp_path, "include/b.lua", "-- @include c\n")
    last = _write(tmp_path, "include/c.lua", "-- c\n-- @include b\n")
    path = _write(tmp_path, "a.lua", "-- @include b\n")
    with pytest.raises(ScriptError) as caught:
        load_script(path)
    assert str(caught.value) == f"{last}:2: circular include of b"


def test_an_include_of_itself_is_a_circle(tmp_path: Path) -> None:
    inner = _write(tmp_path, "include/b.lua", "-- @include b\n")
    path = _write(tmp_path, "a.lua", "-- @include b\n")
    with pytest.raises(ScriptError) as caught:
        load_script(path)
    assert str(caught.value) == f"{inner}:1: circular include of b"


def test_a_folder_is_its_scripts_by_name_without_its_includes(tmp_path: Path) -> None:
    _write(tmp_path, "include/c.lua", "local c = 3")
    for name in ("a", "b"):
        _write(tmp_path, f"{name}.lua", f"-- @include c\nreturn '{name}'\n")
    scripts = load_scripts(tmp_path)
    assert set(scripts) == {"a", "b"}
    assert {script.name for script in scripts.values()} == {"a", "b"}
    assert len({script.sha for script in scripts.values()}) == 2


def test_a_room_finds_its_own_include_and_those_of_all_rooms(tmp_path: Path) -> None:
    _write(tmp_path, "include/shared.lua", "local shared = 1")
    _write(tmp_path, "room/include/own.lua", "-- @include shared\nlocal own = 2")
    path = _write(tmp_path, "room/a.lua", "-- @include own\nreturn own\n")
    assert load_script(path).source == b"local shared = 1\nlocal own = 2\nreturn own\n"


def test_no_room_hides_an_include_of_all_rooms() -> None:
    names = [path.stem for path in HERE.rglob("include/*.lua")]
    assert sorted(names) == sorted(set(names))


def test_our_own_scripts_assemble() -> None:
    scripts = load_scripts() | load_scripts(LEASES)
    files = [path for path in HERE.rglob("*.lua") if path.parent.name != "include"]
    assert sorted(scripts) == sorted(path.stem for path in files)
    for script in scripts.values():
        assert b"@include" not in script.source
