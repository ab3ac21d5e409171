"""A fleet worth looking at, and somebody who looks at it with a browser and a keyboard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Page, Request, expect

from sealwright_licensing.config import load_config
from sealwright_licensing.console.usage import last_months
from sealwright_licensing.keys import load_log_keys
from sealwright_licensing.metering_records import MeteringAlarm, MeteringUsage
from sealwright_licensing.operations.licenses import suspend_license
from sealwright_licensing.operators.roles import Role
from sealwright_licensing.operators.tokens import create_token
from sealwright_licensing.sequencer import Sequencer
from sealwright_policies.errors import RejectionCode
from sealwright_testing.denials import denied
from sealwright_testing.enrolled_device import EnrolledDevice
from sealwright_testing.evidence_factory import boot_events
from sealwright_testing.license_world import OPERATOR, LicenseWorld

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
MOST_TABS = 120
VIOLATED = "Content Security Policy"
PATIENCE_MS = 60_000
"""How long a busy machine may take over one step."""
DRAWN = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


@dataclass
class Fleet:
    """A service with a healthy box, one with changed firmware, and one that was put back and is held."""

    world: LicenseWorld
    healthy: str
    changed: str
    held: str
    license_id: str
    tokens: dict[Role, str]


def make_fleet(world: LicenseWorld) -> Fleet:
    """Enrol and renew as boxes do; what of metering takes months is written as the service would store it."""
    license_, codes = world.issue(seats=3, note=f"Ward 3 {HOSTILE}")
    boxes = []
    for number, code in enumerate(codes):
        device = world.device(number)
        world.enroll(device, code)
        boxes.append(EnrolledDevice(world, license_, device, None))  # type: ignore[arg-type]
    healthy, changed, held = boxes
    world.now += 1
    events = boot_events(changed.device.box.uki, changed.device.box.keys, option_roms=3)
    denied(RejectionCode.FIRMWARE_CHANGED, lambda: changed.ask(changed.nonce(), events=events))
    held.pass_time(100)
    held.ask(held.nonce())
    held.device.ticks = 1
    denied(RejectionCode.ROLLED_BACK, lambda: held.ask(held.nonce()))
    world.issue(product="other", days=12, note="病房 3")
    suspended, _ = world.issue(seats=2)
    suspend_license(world.store, OPERATOR, suspended.license_id, now=world.now)
    _meter(world, license_.license_id, healthy.device.device_id)
    Sequencer(world.store, load_log_keys(world.folder.keys), load_config(world.folder).service_id).run()
    tokens = {role: create_token(world.store, OPERATOR, role.value, role, now=world.now)[1] for role in Role}
    ids = (healthy.device.device_id, changed.device.device_id, held.device.device_id)
    return Fleet(world, *ids, license_.license_id, tokens)


def _meter(world: LicenseWorld, license_id: str, device_id: str) -> None:
    months = last_months(world.now, 6)
    with world.store.write() as transaction:
        for at, month in enumerate(months):
            for model, partition, factor in (("medical", "5a" * 32, 3), ("finance", "6b" * 32, 2)):
                number = factor * (at * 137 % 400 + 200)
                transaction.put(
                    MeteringUsage(license_id, month, month, device_id, partition, "key-a", False, model,
                                  number, number * 900, number * 350, number * 2000, number * 5000)
                )  # fmt: skip
        transaction.put(
            MeteringAlarm("a" * 32, device_id, license_id, "c0" * 16, 7, "METERING_GAP",
                          "receipts 5 to 6 are missing", world.now - 3600)
        )  # fmt: skip


@dataclass
class SeenRequests:
    """What a page asked for, and what the browser complained about."""

    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    provoked: bool = False
    """Whether the test violates the policy on purpose."""

    @classmethod
    def watch(cls, page: Page) -> SeenRequests:
        """Begin."""
        seen = cls()

        def request(one: Request) -> None:
            seen.urls.append(one.url)

        def console(message: ConsoleMessage) -> None:
            # A page with an error's status is no complaint about the page.
            if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
                seen.complaints.append(message.text)

        page.on("request", request)
        page.on("console", console)
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        return seen

    def require_own(self, url: str) -> None:
        """No request to anybody else, no violation of the policy, no error of a script."""
        assert [one for one in self.urls if not one.startswith(url + "/")] == []
        assert [one for one in self.complaints if not (self.provoked and VIOLATED in one)] == []


@dataclass
class Visitor:
    """Somebody at a browser."""

    page: Page
    fleet: Fleet
    seen: SeenRequests

    def log_in(self, role: Role = Role.OPERATOR, path: str = "/") -> None:
        """By keyboard alone: the field has the focus."""
        self.goto(path)
        token = self.page.locator("#token")
        expect(token).to_be_focused(timeout=PATIENCE_MS)
        self.page.keyboard.type(self.fleet.tokens[role])
        expect(token).to_have_value(self.fleet.tokens[role], timeout=PATIENCE_MS)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        assert self.page.url.endswith(path), self.page.locator("main").inner_text()

    def goto(self, path: str) -> None:
        """A page, until it is drawn: a browser gives the focus to a field no sooner."""
        self.page.goto(path)
        self.script(DRAWN)

    def speak(self, language: str) -> None:
        """Choose the language."""
        with self.page.expect_navigation():
            self.page.locator(f"button[value={language}]").click()

    def tab_to(self, selector: str, *, back: bool = False) -> None:
        """Press Tab until an element has the focus."""
        wanted = self.page.locator(selector).first
        for _ in range(MOST_TABS):
            if wanted.evaluate("one => one === document.activeElement"):
                return
            self.page.keyboard.press("Shift+Tab" if back else "Tab")
        raise AssertionError(f"{selector} cannot be reached by Tab on {self.page.url}")

    def follow(self, selector: str) -> None:
        """Go to an element by Tab and press Enter; wait for the page that comes."""
        self.tab_to(selector)
        with self.page.expect_navigation():
            self.page.keyboard.press("Enter")
        self.script(DRAWN)

    def heading(self) -> str:
        """What the page is called."""
        return self.page.locator("h1").inner_text()

    def script(self, code: str, argument: Any = None) -> Any:
        """Ask the page something."""
        return self.page.evaluate(code, argument)

    def expect_violation(self) -> None:
        """Wait for the browser to say that the content security policy was violated; it may say so more than once."""
        if not any(VIOLATED in one for one in self.seen.complaints):
            self.page.wait_for_event("console", lambda one: VIOLATED in one.text)
        self.seen.provoked = True
