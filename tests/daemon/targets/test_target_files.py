"""Files with lists of targets that come, change, go bad and go -> the targets that they give."""

import os
from pathlib import Path

from qmp_exporter.config import Known, Target
from qmp_exporter.daemon.targets.source_poller import ScanResult
from qmp_exporter.daemon.targets.target_files import TargetFiles

DEFAULTS = Target("", "", poll_interval=30)


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = TargetFiles(Known())

    def write(self, name: str, text: str) -> None:
        """As configuration management does it: another file takes the place of the old one."""
        new = self.path / (name + ".new")
        new.write_text(text)
        new.rename(self.path / name)

    def scan(self, defaults: Target = DEFAULTS) -> ScanResult:
        return self._files.scan((f"{self.path}/*.yaml", f"{self.path}/*.yml"), defaults)

    def names(self) -> list[str]:
        return [target.name for target in self.scan().targets]


def test_all_files_of_all_globs_give_their_targets(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("b.yaml", "[{name: web02, socket: /b}]")
    folder.write("a.yaml", "[{name: web01, socket: /a}, {name: web03, socket: /c}]")
    folder.write("c.yml", "[]")
    folder.write("README", "not a list")
    assert folder.names() == ["web01", "web03", "web02"]
    assert folder.scan().refused == []
    assert {target.poll_interval for target in folder.scan().targets} == {30}


def test_a_file_is_read_again_when_it_changed_and_only_then(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a.yaml", "[{name: web01, socket: /a}]")
    (before,) = folder.scan().targets
    (again,) = folder.scan().targets
    assert again is before
    folder.write("a.yaml", "[{name: web01, socket: /b}]")
    assert [target.socket for target in folder.scan().targets] == ["/b"]


def test_a_file_written_in_place_with_the_same_size_and_time_is_read_again(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    file = tmp_path / "a.yaml"
    file.write_text("[{name: web01, socket: /a}]")
    stamp = file.stat()
    assert folder.names() == ["web01"]
    file.write_text("[{name: web02, socket: /a}]")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert folder.names() == ["web02"]


def test_a_bad_file_gives_what_it_gave_before_and_every_mistake_is_told(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a.yaml", "[{name: web01, socket: /a}]")
    folder.write("b.yaml", "[{name: web02, socket: /b}]")
    assert folder.names() == ["web01", "web02"]
    folder.write("a.yaml", "- name: web01\n  sokcet: /a\n- name: 5\n  socket: /c\n")
    assert folder.names() == ["web01", "web02"]
    path = tmp_path / "a.yaml"
    assert [(reason, why) for _, reason, why in folder.scan().refused] == [
        ("mistake", f'{path}:2:3: [0].sokcet: unknown key, did you mean "socket"?'),
        ("mistake", f'{path}:3:9: [1].name: found the number 5, wanted text: write it as "5"'),
    ]
    folder.write("a.yaml", "[{name: web03, socket: /a}]")
    assert folder.names() == ["web03", "web02"]
    assert folder.scan().refused == []


def test_a_file_that_was_never_good_gives_nothing_and_harms_no_other(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a.yaml", "[")
    folder.write("b.yaml", "[{name: web02, socket: /b}]")
    assert folder.names() == ["web02"]


def test_a_file_that_vanishes_takes_its_targets_along_good_or_bad(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a.yaml", "[{name: web01, socket: /a}]")
    folder.write("b.yaml", "[{name: web02, socket: /b}]")
    assert folder.names() == ["web01", "web02"]
    folder.write("a.yaml", "bad")
    (tmp_path / "a.yaml").unlink()
    assert folder.names() == ["web02"]
    assert folder.scan().refused == []


def test_other_defaults_reach_the_targets_of_a_file_that_did_not_change(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.write("a.yaml", "[{name: web01, socket: /a}]")
    folder.scan()
    (target,) = folder.scan(Target("", "", query_block=False)).targets
    assert not target.query_block


def test_a_link_to_nothing_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone")
    assert Folder(tmp_path).scan() == ScanResult([], [])
