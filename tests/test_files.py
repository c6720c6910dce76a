"Files and errors: written whole, found, cached or downloaded, and what the environment names."

import hashlib
from functools import partial
from pathlib import Path

import pytest
from common import refused_as
from test_data import own_data

from opembed_nb.data import ENAS
from opembed_nb.hood.asking import Search
from opembed_nb.hood.files import (
    Download,
    absolute_folders,
    chosen_device,
    chosen_folder,
    find_file,
    listed,
    refused,
    write_whole,
)
from opembed_nb.hood.sources import load_dataset


def test_a_folder_that_is_none_cannot_be_written_to(tmp_path):
    (tmp_path / "file").write_text("no folder")
    for path in (
        tmp_path / "file" / "x.txt",
        Path("/proc/opembed/x.txt"),
        tmp_path,  # a folder stands where the file should
        tmp_path / ("x" * 250),  # the part's name is longer
    ):
        assert "cannot be written" in refused(write_whole, path, b"x")
    assert [f.name for f in tmp_path.iterdir()] == ["file"]
    assert not list(tmp_path.parent.glob(f".{tmp_path.name}*"))


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x.jsonl", "x" * 300 + ".jsonl"])
def test_a_path_that_no_system_has_is_one_line(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for act in (load_dataset, own_data().save):
        refused_as("; give another path", act, path)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_may_not_be_seen_is_one_line(monkeypatch):
    def shut(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", shut)
    for act in (Search.open, partial(Search, ENAS), partial(write_whole, content=b"")):
        refused_as("x/s.sqlite: Permission denied; give another path", act, "x/s.sqlite")


LISTS = [  # what papermill hands over, and what it is, or what is said of it
    ("[dvae]", ["dvae"]), ("['dvae', \"gcn\"]", ["dvae", "gcn"]), ("- gcn", ["gcn"]),
    (("gcn",), ["gcn"]), ("dvae", "'dvae'; write a list: -p models '[dvae, gcn]'"),
    ("[dvae", "'[dvae'; write"), ("", "''; write"), (3, "is 3; write"), (None, "is None; write"),
    ("{a: 1}", "'{a: 1}'; write"), ("[]", "models' is empty; write a list"),
    ("[gnn]", "models' has 'gnn'; known are dvae, gcn"), ("[[dvae]]", "has ['dvae']; known are"),
    ("[no]", "has False; known are"),
]  # fmt: skip


def test_a_list_on_a_command_line_is_the_list_or_one_line():
    for given, what in LISTS:
        read = partial(listed, given, "models", ("dvae", "gcn"), 1)
        if isinstance(what, list): assert read() == what
        else: assert what in refused(read) and "\n" not in refused(read)
    assert listed("[1, 3]", "snapshots") == [1, 3] and listed("[]", "snapshots") == []
    assert "has 1.5; give whole numbers" in refused(listed, "[1.5]", "snapshots")


@pytest.mark.parametrize("device", ["cuda:7", "gpu"])
def test_a_device_that_is_not_there_is_named(device):
    said = refused(chosen_device, device)
    assert said.startswith(f"device '{device}': ") and said.endswith("; name another, cpu for one")
    assert "\n" not in said and chosen_device("cpu") == "cpu"
    assert chosen_device("") == chosen_device() in ("cpu", "cuda")


def test_the_environments_folders_are_resolved_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPEMBED_DATA", "~/data")
    monkeypatch.setenv("OPEMBED_RUNS", "out")
    data, runs = str(tmp_path / "home" / "data"), str(tmp_path / "out")
    wanted = {"OPEMBED_DATA": data, "OPEMBED_RUNS": runs}
    assert absolute_folders() == wanted
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    assert absolute_folders() == wanted
    monkeypatch.setenv("OPEMBED_RUNS", "")
    assert absolute_folders() == {"OPEMBED_DATA": data} and chosen_folder("OPEMBED_RUNS") is None
    monkeypatch.setenv("OPEMBED_DATA", "~nobody-of-this-name/data")
    assert "OPEMBED_DATA=~nobody" in refused(absolute_folders)


def test_a_folder_is_seen_from_the_page_where_none_is_seen_from_the_project(tmp_path, monkeypatch):
    for name in ("checkout/nbs", "checkout/data", "data"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "checkout" / "nbs")
    for given, found in {
        "data": "checkout/data",
        "../data": "data",  # from the project's top, as a command means it
        "../../data": "data",  # there is none seen from the top
        "../none": "none",
    }.items():
        monkeypatch.setenv("OPEMBED_DATA", given)
        assert chosen_folder("OPEMBED_DATA").resolve() == tmp_path / found
    (tmp_path / "data").rmdir()
    monkeypatch.setenv("OPEMBED_DATA", "../data")
    assert chosen_folder("OPEMBED_DATA").resolve() == tmp_path / "checkout" / "data"


# Found, cached or downloaded

CONTENT = b"two hundred bytes or so\n" * 20
BODIES = {"/good": CONTENT, "/short": CONTENT[:-50], "/cut": CONTENT, "/other": b"<html>sign in"}


@pytest.fixture
def server(server):
    server.bodies = BODIES
    server.source = lambda path: Download(
        "own.txt", server.address + path, hashlib.sha256(CONTENT).hexdigest()
    )
    return server


def test_a_good_download_is_kept_and_not_fetched_twice(server, tmp_path):
    for _ in range(2):
        file = find_file(server.source("/good"), tmp_path / "cache")
        assert file.read_bytes() == CONTENT
    assert server.requests == ["/good"] and list((tmp_path / "cache").iterdir()) == [file]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/short", "sha256 is not"),
        ("/other", "sha256 is not"),
        ("/cut", "cannot be downloaded"),
        ("/missing", "404"),
    ],
)
def test_a_bad_download_leaves_nothing_behind(server, tmp_path, path, reason):
    cache = tmp_path / "cache"
    said = refused(find_file, server.source(path), cache)
    assert reason in said and path in said and "OPEMBED_DATA" in said and "\n" not in said
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_spoiled_cache_is_fetched_again(server, tmp_path):
    file = tmp_path / "own.txt"
    file.write_bytes(CONTENT[:-1])
    assert find_file(server.source("/good"), tmp_path).read_bytes() == CONTENT
    file.write_bytes(CONTENT[:-1])
    assert "sha256" in refused(find_file, server.source("/short"), tmp_path)
    assert list(tmp_path.iterdir()) == [file]


def test_nobody_answers(server, tmp_path):
    source = server.source("/good")
    server.shutdown()
    server.server_close()
    assert "cannot be downloaded" in refused(find_file, source, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_a_cache_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").write_text("no folder")
    for cache in (tmp_path / "file" / "cache", Path("/proc/opembed")):  # not even root can make it
        said = refused(find_file, server.source("/good"), cache)
        assert f"cannot be downloaded to {cache} " in said and "set OPEMBED_DATA" in said
        assert not cache.exists()
    assert (tmp_path / "file").read_text() == "no folder" and server.requests == []


def test_the_environments_folder_comes_first_and_is_checked(server, tmp_path, monkeypatch):
    folder, cache = tmp_path / "data", tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("OPEMBED_DATA", str(folder))
    (folder / "own.txt").write_bytes(CONTENT)
    assert find_file(server.source("/good"), cache) == folder / "own.txt"
    (folder / "own.txt").write_bytes(CONTENT[:-1])
    said = refused(find_file, server.source("/good"), cache)
    assert "sha256 is" in said and "is expected; replace the file or unset OPEMBED_DATA" in said
    assert server.requests == [] and not cache.exists()
    (folder / "own.txt").unlink()
    refused_as(
        f"OPEMBED_DATA names {folder}, which holds no", find_file, server.source("/missing"), cache
    )
    assert find_file(server.source("/good"), cache) == cache / "own.txt"


def test_a_relative_folder_is_seen_from_the_project(server, tmp_path, monkeypatch):
    for name in ("nbs", "mine"):
        (tmp_path / name).mkdir()
    (tmp_path / "mine" / "own.txt").write_bytes(CONTENT)
    monkeypatch.setenv("OPEMBED_DATA", "mine")
    for folder in (tmp_path, tmp_path / "nbs"):  # where a command is given, where its chapters run
        monkeypatch.chdir(folder)
        assert find_file(server.source("/good"), tmp_path / "cache") == tmp_path / "mine/own.txt"
    assert server.requests == []
