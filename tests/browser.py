"""Chromium as a test drives it: pages, what is on them, screenshots.

It is spoken to in its own protocol over two pipes, so no port is opened and nothing has to be
installed but Debian's chromium.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.polling import LONGEST_S

CHROMIUM = shutil.which("chromium")
NO_CHROMIUM = "no chromium on this machine: apt-get install chromium"
_EVERY_S = 0.05


class Browser:
    """One that runs."""

    def __init__(self, to_it: int, from_it: int) -> None:
        self._to_it = to_it
        self._from_it = from_it
        self._rest = b""
        self._number = 0
        self.events = []

    def call(self, method, session=None, **values):
        """Return what a command of the protocol gave."""
        self._number += 1
        told = {"id": self._number, "method": method, "params": values}
        if session:
            told["sessionId"] = session
        os.write(self._to_it, json.dumps(told).encode() + b"\0")
        until_s = time.monotonic() + LONGEST_S
        while True:
            answer = self._next(until_s)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _next(self, until_s):
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from_it], [], [], until_s - time.monotonic())
            assert ready, "the browser doesn't answer"
            piece = os.read(self._from_it, 2**20)
            assert piece, "the browser ended"
            self._rest += piece
        answer, _, self._rest = self._rest.partition(b"\0")
        return json.loads(answer)

    def page(self, **screen) -> "Page":
        """Return an empty page of a user of its own: cookies are shared with no other page."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        return Page(self, attached["sessionId"], **screen)


class Page:
    """A page of a browser's."""

    def __init__(self, browser, session, width=1200, height=900, dark=False) -> None:
        self._browser = browser
        self.session = session
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.screen(width, height, dark=dark)

    def call(self, method, **values):
        return self._browser.call(method, self.session, **values)

    def screen(self, width, height, *, dark=False):
        """Let the screen be so large, and of that scheme."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def go(self, url):
        """Open an address, and wait until what it needs has come."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def value(self, expression):
        """Return what an expression of JavaScript gives."""
        told = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression):
        """Wait until an expression is true; return what it gave."""
        until_s = time.monotonic() + LONGEST_S
        while True:
            with suppress(AssertionError):  # between two documents there is none
                found = self.value(expression)
                if found:
                    return found
            assert time.monotonic() < until_s, f"never: {expression}\n{self.text()}"
            time.sleep(_EVERY_S)

    def text(self):
        """Return all that is read on the page."""
        return self.value("document.body.innerText")

    def wait_for_text(self, wanted):
        """Wait until a text is read on the page; return all of it."""
        self.wait(f"document.body.innerText.includes({json.dumps(wanted)})")
        return self.text()

    def screenshot(self, path: Path, *, whole=True):
        """Write what is seen into a file."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def troubles(self):
        """Return what the page's console has of errors, refusals of its policy above all."""
        self.value("0")  # what was told until now has come
        return [
            event["params"]
            for event in self._browser.events
            if event.get("sessionId") == self.session
            and (
                event["method"] == "Runtime.exceptionThrown"
                or (
                    event["method"] == "Log.entryAdded"
                    and event["params"]["entry"]["level"] == "error"
                )
            )
        ]

    def requested(self):
        """Return the addresses of all that the page asked for."""
        self.value("0")
        return [
            event["params"]["request"]["url"]
            for event in self._browser.events
            if event.get("sessionId") == self.session
            and event["method"] == "Network.requestWillBeSent"
        ]


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a browser, in a context."""
    from_us, to_it = os.pipe()
    from_it, to_us = os.pipe()

    def at_three_and_four():
        reads, writes = os.dup(from_us), os.dup(to_us)
        os.dup2(reads, 3)
        os.dup2(writes, 4)

    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                CHROMIUM,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--remote-debugging-pipe",
                f"--user-data-dir={folder}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=at_three_and_four,
            close_fds=False,
        )
        os.close(from_us)
        os.close(to_us)
        try:
            it = Browser(to_it, from_it)
            it.call("Browser.getVersion")
            yield it
            with suppress(AssertionError, OSError):
                it.call("Browser.close")
            process.wait(LONGEST_S)
        finally:
            process.kill()
            process.wait()
            os.close(to_it)
            os.close(from_it)
