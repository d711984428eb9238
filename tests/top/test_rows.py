"""What the API tells -> the rows of a terminal of 80 columns."""

import pytest

from qmp_exporter.top.rows import COLUMNS, Row, details, head, of_the_exporter, rows, size, span

NOW = 1_000_000.0


def vm(name: str, **members: object) -> dict:
    return {
        "vm": name,
        "socket": f"/run/qmp/{name}.sock",
        "up": True,
        "monitor": {"state": "connected", "since": NOW - 90},
        "run_state": "running",
        "running": True,
        "run_state_since": NOW - 7200,
        **members,
    }


def trouble(severity: str = "critical", **members: object) -> dict:
    return {
        "alert": "QEMUVMStoppedOnIOError",
        "severity": severity,
        "since": NOW - 61,
        "what": "stopped on an I/O error",
        "first": "mend the storage, then `cont`",
        "todo": "look",
        "detail": "sda: nospace, write",
        **members,
    }


def data(*targets: dict, **members: object) -> dict:
    return {"version": "1", "host": "hv07", "now": NOW, "targets": list(targets), **members}


def busy(name: str, cpus: float, disk: float, memory: float) -> dict:
    return vm(name, activity={"cpus": [0, cpus], "disk_bytes_per_second": [0, disk]}, memory_bytes=memory)


def names(shown: list[Row]) -> list[str]:
    return [one.vm for one in shown]


def test_a_trouble_that_follows_from_a_worse_one_is_told_among_the_details_alone():
    errors = trouble("warning", what="I/O errors", detail="vda", inhibited=True)
    told = vm("web01", run_state="io-error", running=False, troubles=[trouble(), errors])
    assert "I/O errors" not in rows(data(told))[0].wrong
    assert any(line.startswith("WARNING I/O errors vda") for line in details(told, NOW))


def test_a_vm_in_trouble_says_what_and_what_to_do_first():
    (row,) = rows(data(vm("web01", run_state="io-error", running=False, troubles=[trouble()])))
    assert row == Row(
        "web01",
        "io-error",
        "2h",
        "",
        "",
        "",
        "stopped on an I/O error sda: nospace, write -> mend the storage, then cont",
        2,
    )


def test_what_it_uses_is_short():
    (row,) = rows(data(busy("web01", 1.234, 5_000_000, 2 << 30)))
    assert (row.cpu, row.memory, row.disk) == ("1.23", "2.0G", "4.8M")


@pytest.mark.parametrize(
    ("monitor", "state", "words"),
    [
        ({"state": "missing", "since": NOW - 5, "reason": "no socket there"}, "missing", "no socket there"),
        ({"state": "hung", "since": NOW - 5}, "hangs", ""),
        ({"state": "visited", "since": NOW - 5}, "running", ""),
    ],
)
def test_the_state_is_that_of_qemu_or_why_nobody_knows_it(monitor, state, words):
    (row,) = rows(data(vm("web01", monitor=monitor)))
    assert (row.state, row.wrong) == (state, words)


def test_the_orders_are_those_of_the_keys():
    told = data(
        busy("a", 0.1, 9, 5), busy("b", 2, 1, 3), vm("c", troubles=[trouble("warning")]), vm("d", troubles=[trouble()])
    )
    assert names(rows(told)) == ["d", "c", "a", "b"]
    assert names(rows(told, "name")) == ["a", "b", "c", "d"]
    assert names(rows(told, "cpu")) == ["b", "a", "c", "d"]
    assert names(rows(told, "memory")) == ["a", "b", "c", "d"]
    assert names(rows(told, "disk")) == ["a", "b", "c", "d"]


def test_all_words_have_to_be_there():
    told = data(vm("web01", troubles=[trouble()]), vm("web02"), vm("db01"))
    assert names(rows(told, find="WEB")) == ["web01", "web02"]
    assert names(rows(told, find="web nospace")) == ["web01"]


def test_a_name_moves_no_cursor():
    (row,) = rows(data(vm("evil\x1b[2J\u202e")))
    assert row.vm.isprintable()


def test_the_details_are_lines_for_a_person():
    told = vm(
        "web01",
        uuid="6a3c",
        version="10.0.2",
        troubles=[trouble()],
        jobs=[{"job": "copy0", "type": "mirror", "status": "paused", "offset_bytes": 5, "length_bytes": 10}],
        events=[{"event": "STOP", "count": 2, "since": NOW - 9, "last": NOW - 9, "labels": {"reason": "x"}}],
    )
    assert list(details(told, NOW)) == [
        "web01  running   6a3c QEMU 10.0.2",
        "monitor connected   /run/qmp/web01.sock",
        "",
        "CRITICAL stopped on an I/O error sda: nospace, write, for 1m",
        "  look",
        "job mirror copy0 paused 50%",
        "",
        "    9s ago  STOP x2 reason=x",
    ]


def test_the_head_counts_and_the_exporters_own_trouble_is_told():
    told = data(
        vm("a"), vm("b", running=False, troubles=[trouble()]), troubles=[trouble(detail="", labels={"source": "x"})]
    )
    assert head(told) == "hv07: 2 VMs, 1 running, 1 in trouble"
    assert list(of_the_exporter(told)) == ["stopped on an I/O error x -> mend the storage, then cont"]


def test_numbers_are_never_wider_than_their_columns():
    widths = {column.head: column.width for column in COLUMNS}
    for number in (0, 1, 999, 1023, 1024, 10_239, 1_047_000, 5 << 30, 900 << 40):
        assert len(size(number)) <= widths["Mem"]
    for seconds in (0, 59, 60, 3599, 86_399, 99_999 * 86_400):
        assert len(span(seconds)) <= widths["Since"]
    assert sum(column.width + 1 for column in COLUMNS) <= 80
