"""The page in a real browser: what it shows, how it is used, and that nothing of a VM's is ever more than text."""

import re

import pytest
from aiohttp import ClientSession, web
from playwright.async_api import expect

import chromium
from chromium import PHONE
from exporter import Vm, exporting, free_port
from qmp_exporter.simulator import Monitor, SimulatedVm

pytestmark = pytest.mark.asyncio(loop_scope="session")  # of the browser, which all share

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
# What the page keeps waiting: tasks of more than 50 ms, and when its first and its last row were there.
STOPWATCH = """
window.stopwatch = { first: 0, whole: 0, held: [] };
new PerformanceObserver((list) => stopwatch.held.push(...list.getEntries().map((task) => task.duration)))
  .observe({ type: "longtask", buffered: true });
new MutationObserver(() => {
  const rows = document.getElementsByClassName("vm").length;
  if (rows) stopwatch.first ||= performance.now();
  if (rows === 500) stopwatch.whole ||= performance.now();
}).observe(document, { childList: true, subtree: true });
"""
BACKWARDS = "evil\u202egnp.exe"
GIB = 1 << 30


async def test_the_vm_in_trouble_comes_first_with_its_disk_and_its_time(opened):
    a, b, c = SimulatedVm("a"), SimulatedVm("b"), SimulatedVm("c")
    view = await opened(a, b, c)
    await view.shows("a", "b", "c")
    await expect(view.cell("b", "state")).to_have_text("running")
    b.io_error("virtio-disk1", "write", "stop", nospace=True)
    await view.shows("b", "a", "c")
    await expect(view.cell("b", "state")).to_have_text("io-error")
    await expect(view.cell("b", "wrong")).to_have_text(
        "stopped on an I/O error drive-virtio-disk1: nospace, write \u2192 mend the storage, then resume it"
    )
    await expect(view.page.locator("#sum")).to_have_text("3 VMs, 2 running, 1 in trouble")
    await expect(view.page).to_have_title("(1) " + await view.page.locator("#host").inner_text() + " · qmp-exporter")
    await expect(view.page.get_by_role("status")).to_have_text("1 VM in trouble: b.")
    assert view.complaints == []


async def test_a_trouble_that_follows_from_a_worse_one_is_told_where_the_vm_is_opened_alone(opened):
    """As Alertmanager inhibits it."""
    vm = SimulatedVm("web01")
    view = await opened(vm)
    vm.io_error("virtio-disk0", "read", "report")
    await expect(view.cell("web01", "wrong")).to_contain_text("I/O errors")
    vm.io_error("virtio-disk1", "write", "stop", nospace=True)
    await expect(view.cell("web01", "wrong")).to_have_text(re.compile("^stopped on an I/O error .* resume it$"))
    await view.row("web01").locator(".open").click()
    wrong = view.page.locator("tr.more section").filter(has_text="What is wrong")
    await expect(wrong.get_by_role("link")).to_have_text(
        ["Runbook QEMUVMStoppedOnIOError", "Runbook QEMUBlockIOErrors"]
    )


async def test_it_is_live_without_being_loaded_again(opened):
    vm = SimulatedVm("web01")
    view = await opened(vm)
    await expect(view.cell("web01", "state")).to_have_text("running")
    await view.measured("window.loadedOnce = true")
    vm.move_tray("ide0-1-0", open=True)
    await expect(view.cell("web01", "wrong")).to_have_text("open: drive-ide0-1-0")
    client = vm.vnc_connect(vm.displays.vnc[0].id)
    vm.vnc_initialize(client)
    await expect(view.cell("web01", "vnc")).to_have_text("1")
    await expect(view.cell("web01", "event")).to_contain_text("VNC_INITIALIZED")
    vm.stop()
    await expect(view.cell("web01", "state")).to_have_text("paused")
    vm.cont()
    await expect(view.cell("web01", "state")).to_have_text("running")
    assert await view.measured("window.loadedOnce")
    assert view.complaints == []


async def test_a_job_has_a_bar_that_moves(opened):
    vm = SimulatedVm("web01")
    view = await opened(vm)
    vm.start_job("mirror", job_id="copy0", length=GIB, speed=GIB // 4)
    vm.advance(1.0)
    jobs = view.cell("web01", "jobs")
    await expect(jobs).to_have_text("25 %mirror 25 %")  # the first is what stands for the bar
    await view.row("web01").locator(".open").click()
    await expect(view.page.locator("tr.more")).to_contain_text("mirror copy0 25 % · 0.3 of 1 GiB · ≤ 256 MiB/s")
    await view.row("web01").locator(".open").click()
    await expect(jobs.get_by_role("progressbar")).to_have_attribute("value", "0.25")
    vm.advance(2.0)
    await expect(jobs.get_by_role("progressbar")).to_have_attribute("value", "0.75")


async def test_why_a_monitor_is_out_of_reach_is_said_in_words_with_the_next_try(opened):
    view = await opened(SimulatedVm("web01"), targets=(Vm("web02", "/run/nowhere.sock"),))
    wrong = view.cell("web02", "wrong")
    await expect(wrong).to_contain_text("missing: no socket there; next try in")
    await expect(wrong).to_contain_text("its monitor is out of reach \u2192 does it run?")
    await expect(view.cell("web02", "state")).to_have_text("not known")
    await view.row("web02").locator(".open").click()
    more = view.page.locator("tr.more")
    await expect(more).to_contain_text("Is the VM started, with a monitor at this path?")
    await expect(more).to_contain_text("qmp-exporter diagnose /run/nowhere.sock")


async def test_a_qemu_that_ended_without_a_word_is_trouble_and_one_that_said_so_is_not(opened):
    crashed, ended = SimulatedVm("crashed"), SimulatedVm("ended")
    view = await opened(crashed, ended)
    await expect(view.cell("crashed", "state")).to_have_text("running")
    await expect(view.cell("ended", "state")).to_have_text("running")
    crashed.kill()
    ended.shutdown()
    await expect(view.cell("crashed", "state")).to_have_text("gone")
    await expect(view.cell("ended", "state")).to_have_text("ended")
    await view.page.get_by_role("button", name="Trouble").click()
    await view.shows("crashed")


async def test_what_happened_to_a_vm_is_told_with_times_when_it_is_opened(opened):
    vm = SimulatedVm("web01")
    view = await opened(vm)
    await expect(view.cell("web01", "state")).to_have_text("running")
    for _ in range(3):
        vm.io_error("virtio-disk0", "read", "report")
    vm.powerdown()
    await expect(view.cell("web01", "event")).to_contain_text("POWERDOWN")
    button = view.row("web01").locator(".open")
    await expect(button).to_have_attribute("aria-expanded", "false")
    await button.click()
    await expect(button).to_have_attribute("aria-expanded", "true")
    more = view.page.locator("tr.more")
    await expect(more.locator("li").filter(has_text="POWERDOWN")).to_have_count(1)
    errors = more.locator("li").filter(has_text="BLOCK_IO_ERROR \u00d73")
    await expect(errors).to_contain_text("device=drive-virtio-disk0 operation=read action=report")
    await expect(errors.locator("time").first).to_have_attribute("datetime", re.compile(r"20..-..-..T"))
    vm.suspend()
    await expect(more.locator("li").filter(has_text="SUSPEND")).to_have_count(1)
    await button.click()
    await expect(more).to_have_count(0)


# --- sorting and finding


async def test_headings_sort_by_mouse_and_by_keyboard_and_say_so(opened):
    a, b, c = SimulatedVm("a"), SimulatedVm("b"), SimulatedVm("c")
    view = await opened(a, b, c)
    await view.shows("a", "b", "c")
    heading = view.page.get_by_role("columnheader", name="VM", exact=True)
    await expect(view.page.get_by_role("columnheader", name="State")).to_have_attribute("aria-sort", "descending")
    await heading.get_by_role("button").click()
    await expect(heading).to_have_attribute("aria-sort", "ascending")
    await heading.get_by_role("button").press("Enter")
    await expect(heading).to_have_attribute("aria-sort", "descending")
    await view.shows("c", "b", "a")
    vnc = view.page.get_by_role("columnheader", name="VNC sessions")
    client = b.vnc_connect(b.displays.vnc[0].id)
    b.vnc_initialize(client)
    await vnc.get_by_role("button").press("Space")
    await view.shows("b", "a", "c")
    assert "sort=vnc.down" in view.page.url


async def test_find_and_show_choose_and_the_address_keeps_the_choice(opened):
    a, b = SimulatedVm("web01"), SimulatedVm("db01")
    view = await opened(a, b)
    await view.shows("db01", "web01")
    await view.page.keyboard.press("/")
    await expect(view.page.get_by_role("searchbox")).to_be_focused()
    await view.page.keyboard.type("WEB")
    await view.shows("web01")
    await view.page.reload()
    await view.shows("web01")
    await view.page.get_by_role("searchbox").press("Escape")
    await view.shows("db01", "web01")
    b.stop()
    await view.page.get_by_role("button", name="Not running 1").click()
    await view.shows("db01")
    await view.page.get_by_role("searchbox").fill("web")
    await expect(view.page.get_by_role("heading", name="No VM matches")).to_be_visible()
    await view.page.get_by_role("button", name="Show all VMs").click()
    await view.shows("db01", "web01")
    assert view.complaints == []


async def test_all_of_it_is_in_reach_of_the_keyboard_and_focus_stays_with_its_vm(opened):
    vms = [SimulatedVm(name) for name in ("a", "b", "c")]
    view = await opened(*vms)
    await view.shows("a", "b", "c")
    await view.page.keyboard.press("/")
    await view.page.keyboard.press("ArrowDown")
    await view.page.keyboard.press("ArrowDown")
    b = view.page.get_by_role("button", name="b", exact=True)
    await expect(b).to_be_focused()
    await view.page.keyboard.press("Enter")
    await expect(view.page.locator("tr.more")).to_be_visible()
    vms[1].io_error("virtio-disk0", "write", "stop")
    await expect(view.page.locator("tr.more")).to_contain_text("What is wrong")
    await view.shows("a", "b", "c")  # nothing moves while somebody is at a row
    await view.page.get_by_role("button", name="Sort now").click()
    await view.shows("b", "a", "c")
    await expect(view.page.locator("tr.vm:first-child + tr.more")).to_be_visible()


async def test_nothing_moves_under_the_pointer_and_a_row_that_is_open_stays_where_it_is(opened):
    vms = [SimulatedVm(name) for name in ("a", "b", "c")]
    view = await opened(*vms)
    await view.shows("a", "b", "c")
    await view.row("b").locator("td.state").hover()
    vms[2].io_error("virtio-disk0", "write", "stop")
    await expect(view.page.locator("#sum")).to_contain_text("1 in trouble")
    await view.shows("a", "b", "c")
    await expect(view.page.get_by_role("button", name="Sort now")).to_be_visible()
    await view.page.mouse.move(5, 5)
    await view.shows("c", "a", "b")
    await expect(view.page.get_by_role("button", name="Sort now")).to_be_hidden()
    await view.row("b").locator(".open").click()
    await view.page.mouse.move(5, 5)
    await view.measured("document.activeElement.blur()")
    place = await view.row("b").bounding_box()
    vms[2].cont()
    vms[0].io_error("virtio-disk0", "write", "stop")
    await expect(view.page.get_by_role("status")).to_have_text("1 VM in trouble: a.")
    assert await view.row("b").bounding_box() == place
    await view.row("b").locator(".open").click()
    await view.page.mouse.move(5, 5)
    await view.measured("document.activeElement.blur()")
    await view.shows("a", "b", "c")


async def test_vms_in_trouble_stand_in_the_order_of_their_names(opened):
    vms = [SimulatedVm(name) for name in ("a", "b", "c")]
    view = await opened(*vms)
    vms[2].io_error("virtio-disk0", "write", "stop")
    await view.shows("c", "a", "b")
    vms[1].io_error("virtio-disk0", "write", "stop")
    await view.shows("b", "c", "a")


async def test_groups_by_a_label_put_those_with_trouble_first_and_the_address_keeps_them(opened, directory):
    good, bad = SimulatedVm("good"), SimulatedVm("bad")
    async with Monitor(good, directory / "good"), Monitor(bad, directory / "bad"):
        view = await opened(
            SimulatedVm("other"),
            targets=(
                Vm("good", directory / "good", {"tenant": "acme"}),
                Vm("bad", directory / "bad", {"tenant": "<b>zeta"}),
            ),
        )
        await view.shows("bad", "good", "other")
        bad.io_error("virtio-disk0", "write", "stop")
        await view.page.get_by_label("Group by").select_option("By tenant")
        heads = view.page.locator("tr.group")
        await expect(heads).to_have_text(["<b>zeta 1 VM, 1 in trouble", "acme 1 VM", "none 1 VM"])
        await view.shows("bad", "good", "other")
        await view.page.reload()
        await expect(heads).to_have_count(3)
        await view.page.get_by_role("searchbox").fill("good")
        await expect(view.page.locator("tr.group:not([hidden])")).to_have_text(["acme 1 VM"])
        assert await view.barriers() == ""
        assert view.complaints == []


# --- strings of others


async def test_a_hostile_name_is_text_and_nothing_else(opened):
    view = await opened(SimulatedVm(HOSTILE), SimulatedVm(BACKWARDS))
    names = view.page.locator("tr.vm .open")
    await expect(names).to_have_count(2)
    assert sorted(await names.all_text_contents()) == [HOSTILE, "evil\u2039U+202E\u203agnp.exe"]
    await names.first.click()
    await names.last.click()
    await expect(view.page.locator("tr.more")).to_have_count(2)
    assert await view.measured("document.querySelectorAll('script, img, iframe').length") == 1  # our own script
    assert view.complaints == []


async def test_the_policy_would_stop_what_a_name_could_bring(opened):
    view = await opened(SimulatedVm("web01"))
    await view.shows("web01")
    for attempt, blocked in (
        ("try { document.body.innerHTML += '<img src=x onerror=alert(1)>' } catch {}", "TrustedHTML"),
        ("document.body.append(Object.assign(document.createElement('img'), { src: '/x' }))", "img-src"),
        ("try { document.body.setAttribute('onclick', 'alert(1)') } catch {}", "TrustedScript"),
    ):
        async with view.page.expect_console_message(lambda said, blocked=blocked: blocked in said.text):
            await view.measured(f"(() => {{ {attempt} }})()")


# --- when there is no answer, nobody looks, nothing is there


async def test_when_the_exporter_is_gone_the_page_says_since_when_and_finds_it_again(directory, browser):
    address = f"127.0.0.1:{free_port()}"
    async with Monitor(SimulatedVm("web01"), directory / "0.sock") as monitor:
        vm = Vm("web01", directory / "0.sock")
        exporter = exporting(directory, vm, address=address)
        await exporter.__aenter__()
        async with chromium.viewing(browser, address) as view:
            await expect(view.cell("web01", "state")).to_have_text("running")
            stale = view.page.get_by_role("alert")
            await expect(stale).to_be_hidden()
            await exporter.__aexit__(None, None, None)
            await expect(stale).to_contain_text("Stale since ")
            await expect(stale).to_contain_text("the exporter does not answer (no connection). Next try in ")
            await expect(stale).to_contain_text(re.compile(r"Next try in 1\d s"))  # time enough to try before that
            monitor.vm.stop()
            async with exporting(directory, vm, address=address):
                await view.page.get_by_role("button", name="Try now").click()
                await expect(stale).to_be_hidden()
                await expect(view.cell("web01", "state")).to_have_text("paused")


async def test_a_page_that_nobody_sees_does_not_ask(opened):
    view = await opened(SimulatedVm("web01"))
    await expect(view.cell("web01", "state")).to_have_text("running")
    answers = "**/api/v1/targets"
    async with view.page.expect_response(answers):
        await view.page.clock.install()  # from now on time passes when it is told to
    await turned(view, hidden=True)
    asked: list[str] = []
    view.page.on("request", lambda request: asked.append(request.url))
    await view.page.clock.run_for(3_600_000)
    assert asked == []
    async with view.page.expect_response(answers):
        await turned(view, hidden=False)
    await view.page.get_by_role("button", name="Pause").click()
    await expect(view.page.locator("#when")).to_contain_text("Paused at")
    asked.clear()
    await view.page.clock.run_for(3_600_000)
    assert asked == []


async def turned(view: chromium.View, *, hidden: bool) -> None:
    """The person turns to another tab, or comes back."""
    await view.measured(
        f"Object.defineProperty(document, 'hidden', {{ value: {str(hidden).lower()}, configurable: true }});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )


async def test_an_empty_fleet_says_what_to_do(opened):
    view = await opened()
    await expect(view.page.get_by_role("heading", name="No VM is watched yet")).to_be_visible()
    await expect(view.page.locator("#nothing")).to_contain_text("-chardev socket,id=exporter")
    assert await view.barriers() == ""


async def test_a_fleet_of_which_none_is_in_reach_says_what_to_do(opened):
    view = await opened(targets=(Vm("a", "/run/nowhere.sock"), Vm("b", "/run/qemu-server/104.qmp")))
    box = view.page.locator("#alldown")
    await expect(box).to_contain_text("None of the 2 monitors is in reach.")
    await expect(box).to_contain_text("1 missing: Is the VM started")
    await expect(box).to_contain_text("1 foreign: This monitor belongs to a manager.")
    await expect(box).to_contain_text("qmp-exporter diagnose SOCKET")
    assert await view.barriers() == ""


async def test_a_socket_where_vms_cannot_dial_in_is_said_with_its_reason_until_they_can(directory, browser):
    address = f"127.0.0.1:{free_port()}"
    listen = {"socket": f"{directory}/<b>later/dial-in.sock"}
    async with (
        exporting(directory, listen=listen, address=address, complaints=True),
        chromium.viewing(browser, address) as view,
    ):
        box = view.page.locator("#down")
        await expect(box).to_have_text(
            "VMs may be missing here: the exporter cannot look for them everywhere."
            f"listen {directory}/<b>later/dial-in.sock: there is no directory {directory}/<b>later"
        )
        assert await view.barriers() == ""
        (directory / "<b>later").mkdir()
        await expect(box).to_be_hidden()
        assert view.complaints == []


# --- for everybody, everywhere


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("screen", [chromium.DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_nothing_keeps_anybody_from_using_it(opened, scheme, screen):
    """axe-core knows contrast, labels, roles and the order of headings."""
    bad, busy, off = SimulatedVm("bad"), SimulatedVm("busy"), SimulatedVm("off")
    view = await opened(
        bad, busy, off, targets=(Vm("lost", "/run/nowhere.sock", {"tenant": "acme"}),), color_scheme=scheme, **screen
    )
    bad.io_error("virtio-disk1", "write", "stop", nospace=True)
    busy.start_job("mirror", job_id="copy0", length=GIB, speed=GIB // 4)
    busy.io_error("virtio-disk0", "read", "report")
    off.stop()
    await expect(view.cell("bad", "state")).to_have_text("io-error")
    await expect(view.cell("off", "state")).to_have_text("paused")
    await expect(view.cell("busy", "jobs")).to_contain_text("mirror")
    for name in ("bad", "lost"):
        await view.row(name).locator(".open").click()
    await expect(view.page.locator("tr.more")).to_have_count(2)
    dark = await view.measured("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(part) for part in dark[4:-1].split(",")) < 150) == (scheme == "dark")
    assert await view.measured("document.documentElement.scrollWidth <= innerWidth")
    assert await view.barriers() == ""
    assert view.complaints == []


@pytest.mark.parametrize("width", [1100, 1360, 1680])
async def test_no_number_run_state_or_heading_is_cut_off(opened, width):
    """The longest that there may be, beside the small line of the last minutes."""
    vm = SimulatedVm("web01", no_shutdown=True)
    view = await opened(vm, viewport={"width": width, "height": 800})
    vm.panic()
    await expect(view.cell("web01", "state")).to_have_text("guest-panicked")
    cut = await view.measured("""
        (() => {
          const longest = { cpu: "0.01", memory: "1023 MiB", disk: "1023 MiB/s" };
          const line = () => document.getElementById("spark").content.firstElementChild.cloneNode(true);
          for (const [column, text] of Object.entries(longest))
            document.querySelector(`td.${column}`).replaceChildren(...(column === "memory" ? [] : [line()]), text);
          return [...document.querySelectorAll("thead button, td.state, td.since, td.cpu, td.memory, td.disk")]
            .filter((one) => one.scrollWidth > one.clientWidth).map((one) => `${one.textContent}: ${one.scrollWidth}`);
        })()
    """)
    assert cut == []
    assert await view.measured("document.documentElement.scrollWidth <= innerWidth")
    assert view.complaints == []


async def test_it_works_below_any_path_of_a_reverse_proxy(directory, browser):
    address = f"127.0.0.1:{free_port()}"
    async with (
        Monitor(SimulatedVm("web01"), directory / "0.sock"),
        exporting(directory, Vm("web01", directory / "0.sock"), address=address),
        ClientSession() as client,
    ):

        async def pass_on(request: web.Request) -> web.Response:
            async with client.get(f"http://{address}/{request.match_info['rest']}") as answer:
                headers = {
                    name: answer.headers[name]
                    for name in ("Content-Type", "Content-Security-Policy")
                    if name in answer.headers
                }
                return web.Response(body=await answer.read(), headers=headers, status=answer.status)

        app = web.Application()
        app.router.add_get("/hv07/qmp/{rest:.*}", pass_on)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            proxy = f"127.0.0.1:{runner.addresses[0][1]}"
            async with chromium.viewing(browser, proxy, path="/hv07/qmp/") as view:
                await expect(view.cell("web01", "state")).to_have_text("running")
                await view.page.get_by_role("link", name="Metrics").click()
                await expect(view.page.locator("body")).to_contain_text('qemu_up{vm="web01"} 1.0')
        finally:
            await runner.cleanup()


async def test_five_hundred_vms_are_soon_there_and_stay_usable(opened, figure):
    vms = [SimulatedVm(f"vm{number:03}") for number in range(500)]
    view = await opened(*vms, init_script=STOPWATCH)
    names = view.page.locator("tr.vm")
    await expect(names).to_have_count(500)
    await expect(view.page.locator("#sum")).to_have_text("500 VMs, 500 running, none in trouble")
    first, whole, held = await view.measured("[stopwatch.first, stopwatch.whole, Math.max(0, ...stopwatch.held)]")
    await view.measured("stopwatch.held.length = 0")
    for vm in vms:
        vm.move_tray("ide0-1-0", open=True)
    vms[321].io_error("virtio-disk1", "write", "stop")
    await expect(view.page.get_by_role("button", name="Open trays 500")).to_be_visible()
    await expect(view.page.locator("tr.vm:first-child .open")).to_have_text("vm321")
    update = await view.measured("Math.max(0, ...stopwatch.held)")
    await view.page.get_by_role("searchbox").fill("vm32")
    await view.shows("vm321", *(f"vm32{number}" for number in (0, 2, 3, 4, 5, 6, 7, 8, 9)))
    figure(
        f"500 VMs: first rows after {first:.0f} ms, all after {whole:.0f} ms; the longest task took "
        f"{max(50, held):.0f} ms or less then, and {max(50, update):.0f} ms or less while all of them changed"
    )
    assert view.complaints == []
