"""What the guest is told and what befalls it: each counted, each at zero before."""

import pytest

from play import Story


@pytest.mark.parametrize(
    ("event", "sample"),
    [
        ("POWERDOWN", "qemu_vm_powerdowns_total"),
        ("SUSPEND", 'qemu_vm_suspends_total{to="ram"}'),
        ("SUSPEND_DISK", 'qemu_vm_suspends_total{to="disk"}'),
        ("WAKEUP", "qemu_vm_wakeups_total"),
    ],
)
def test_buttons_and_sleep_are_counted(event, sample):
    story = Story()
    story.says(sample, 0)
    story.happens(event)
    story.says(sample, 1)


def panics(action: str, kind: str) -> str:
    return f'qemu_guest_panics_total{{action="{action}",type="{kind}"}}'


@pytest.mark.parametrize("action", ["pause", "poweroff", "run"])
def test_a_panic_counts_by_what_qemu_then_did(action):
    story = Story()
    story.happens("GUEST_PANICKED", action=action)
    story.says(panics(action, "unknown"), 1)


@pytest.mark.parametrize("kind", ["hyper-v", "s390", "tdx", "sev"])
def test_a_panic_with_information_counts_by_its_type(kind):
    story = Story()
    story.happens("GUEST_PANICKED", action="pause", info={"type": kind, "arg1": 2**63, "core": 0, "message": "<b>"})
    story.says(panics("pause", kind), 1)
    story.says(panics("pause", "unknown"), 0)


def test_a_panic_never_heard_of_is_other():
    story = Story()
    story.happens("GUEST_PANICKED", action="scream", info={"type": "vms"})
    story.says(panics("other", "other"), 1)


def test_the_panics_of_ordinary_life_stand_at_zero():
    of_it = {sample: value for sample, value in Story().page().items() if sample.startswith("qemu_guest_panics")}
    assert of_it == {panics(action, kind): 0 for action in ("pause", "poweroff") for kind in ("hyper-v", "unknown")}


def test_the_stop_after_a_panic_makes_it_ask_for_the_run_state():
    story = Story()
    story.wants()
    story.happens("GUEST_PANICKED", action="pause")
    story.happens("STOP")
    assert "query-status" in story.wants()


def test_a_crash_kernel_is_counted():
    story = Story()
    story.says('qemu_guest_crashloads_total{action="run"}', 0)
    story.happens("GUEST_CRASHLOADED", action="run")
    story.says('qemu_guest_crashloads_total{action="run"}', 1)


@pytest.mark.parametrize("recipient", ["hypervisor", "guest"])
@pytest.mark.parametrize("action", ["ignore", "inject", "fatal", "reset"])
def test_a_memory_failure_counts_by_whom_it_hit_and_what_was_done(recipient, action):
    story = Story()
    sample = f'qemu_memory_failures_total{{action="{action}",recipient="{recipient}"}}'
    story.says(sample, 0)
    flags = {"action-required": True, "recursive": False}
    story.happens("MEMORY_FAILURE", recipient=recipient, action=action, flags=flags)
    story.says(sample, 1)
