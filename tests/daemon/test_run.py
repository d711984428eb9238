"""What the daemon does before it serves."""

import resource

import pytest
from structlog.testing import capture_logs

from qmp_exporter.daemon import run
from qmp_exporter.daemon.selfstats import Selfstats
from qmp_exporter.daemon.targets.fleet import Fleet
from qmp_exporter.daemon.targets.sources import DIAL_IN, Source


@pytest.mark.parametrize(("targets", "said"), [(2000, 1), (20, 0)])
def test_too_few_descriptors_are_said_before_they_are_missed(
    monkeypatch: pytest.MonkeyPatch, targets: int, said: int
) -> None:
    allowed = []
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (1024, 2048))
    monkeypatch.setattr(resource, "setrlimit", lambda _which, limits: allowed.append(limits))
    with capture_logs() as lines:
        assert run._is_enough(run._raise_file_limit(), targets) is not bool(said)
    assert allowed == [(2048, 2048)]
    assert [line["allowed"] for line in lines if line["log_level"] == "warning"] == [2048] * said


def test_the_service_manager_is_told_which_source_of_vms_does_not_work() -> None:
    fleet = Fleet(Selfstats())
    assert run._status(fleet) == "STATUS=0 of 0 monitors connected"
    fleet.fails(Source(DIAL_IN, "listen /run/dial-in.sock"), "there is no group kvm")
    assert run._status(fleet) == ("STATUS=0 of 0 monitors connected; listen /run/dial-in.sock: there is no group kvm")
