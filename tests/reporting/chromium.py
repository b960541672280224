"""A headless Chromium, driven over the DevTools protocol through two pipes with nothing but the standard library."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--no-default-browser-check",
    "--no-first-run",
    "--hide-scrollbars",
)
_KEYS = {"Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Enter": 13, " ": 32}


def find_browser() -> str | None:
    """Path of a browser, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(Exception):
    """The browser did not answer, or refused."""


class Browser:
    """One process and what it says; use as a context.

    Args:
        program: to start.
        profile: an empty folder for its files.
        patience: seconds to wait for any answer.
    """

    def __init__(self, program: str, profile: Path, patience: float = 60.0) -> None:
        self.patience = patience
        self.events: list[dict] = []
        self._number, self._pending = 0, b""
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        # high numbers, so that neither is in the way of the 3 and 4 that the browser reads and writes
        high = [fcntl.fcntl(each, fcntl.F_DUPFD, 10) for each in (commands, answers)]
        self.process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(profile), "DBUS_SESSION_BUS_ADDRESS": "disabled:"},
            start_new_session=True,
            pass_fds=(3, 4),
            preexec_fn=lambda: (os.dup2(high[0], 3), os.dup2(high[1], 4)),
        )
        for each in (commands, answers, *high):
            os.close(each)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_) -> None:
        """End the browser and all it has started."""
        with contextlib.suppress(BrowserError, OSError):
            self.patience = 3.0
            self.send("Browser.close")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for each in (self._to, self._from):
            os.close(each)

    def send(self, method: str, session: str | None = None, **parameters) -> dict:
        """A command's result; events that come first are kept."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        try:
            sent = json.dumps(message).encode() + b"\0"
            while sent:
                sent = sent[os.write(self._to, sent) :]
        except OSError as error:
            raise BrowserError(f"the browser is gone: {error}") from error
        end = time.monotonic() + self.patience
        while True:
            answer = self._read(end, method)
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str, session: str) -> dict:
        """The first event of a kind that has come or will."""
        end = time.monotonic() + self.patience
        while True:
            for event in self.events:
                if event["method"] == method and event.get("sessionId") == session:
                    return event
            self.events.append(self._read(end, method))

    def _read(self, end: float, what: str) -> dict:
        while b"\0" not in self._pending:
            left = end - time.monotonic()
            if left <= 0 or not select.select([self._from], [], [], left)[0]:
                raise BrowserError(f"no answer to {what} within {self.patience:.0f} s")
            received = os.read(self._from, 1 << 20)
            if not received:
                raise BrowserError("the browser has ended")
            self._pending += received
        message, _, self._pending = self._pending.partition(b"\0")
        return json.loads(message)


class Page:
    """A tab of a certain size in which a file is open, without a network.

    Attributes:
        requests: addresses of everything the page asked for.
        complaints: what the page wrote to the console, exceptions, and what the browser had to say.
    """

    def __init__(
        self, browser: Browser, file: Path, width: int, height: int, dark=False, touch=False, script=True
    ) -> None:
        self.browser, self.address = browser, file.resolve().as_uri()
        target = browser.send("Target.createTarget", url="about:blank")["targetId"]
        self.target = target
        self.session = browser.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")
        self.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        if touch:
            self.send("Emulation.setTouchEmulationEnabled", enabled=True)
        self.prefer("dark" if dark else "light")
        if not script:
            self.send("Emulation.setScriptExecutionDisabled", value=True)
        self.send("Page.navigate", url=self.address)
        browser.wait_for("Page.loadEventFired", self.session)

    def send(self, method: str, **parameters) -> dict:
        return self.browser.send(method, self.session, **parameters)

    def prefer(self, scheme: str, media: str = "") -> None:
        """Light or dark, on the screen or on paper (`print`)."""
        self.send(
            "Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def evaluate(self, expression: str):
        """The value of an expression of JavaScript."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise BrowserError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def click(self, selector: str, number: int = 0) -> None:
        """Press and release the mouse, or a finger's tap that becomes a click, in the middle of an element."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{number}];"
            "e.scrollIntoView({block: 'center', behavior: 'instant'}); const r = e.getBoundingClientRect();"
            "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def swipe(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """A finger from one place to another."""
        points = [{"x": start[0], "y": start[1]}], [{"x": end[0], "y": end[1]}]
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=points[0])
        self.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=points[1])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press and release a key."""
        code = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": {"Enter": "\r", " ": " "}[key]} if key in ("Enter", " ") else {}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **code, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + self.browser.patience
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise BrowserError(f"never true: {expression}")
            time.sleep(0.05)

    def screenshot(self, whole: bool = True) -> bytes:
        """The page as a PNG, all of it or what is in view."""
        return base64.b64decode(
            self.send("Page.captureScreenshot", captureBeyondViewport=whole, **self._clip(whole))["data"]
        )

    def _clip(self, whole: bool) -> dict:
        if not whole:
            return {}
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}

    @property
    def requests(self) -> list[str]:
        self.evaluate("1")  # what was said before has arrived by then
        return [event["params"]["request"]["url"] for event in self._events("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        self.evaluate("1")
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(event["params"]) for kind in kinds for event in self._events(kind)]

    def _events(self, method: str) -> list[dict]:
        return [e for e in self.browser.events if e["method"] == method and e.get("sessionId") == self.session]

    def close(self) -> None:
        self.browser.send("Target.closeTarget", targetId=self.target)


def start_browser(program: str, profile: Path) -> Browser:
    """A browser that answers; a start that hangs is tried once more."""
    for attempt in (1, 2):
        browser = Browser(program, profile / str(attempt))
        try:
            browser.patience = 30.0
            browser.send("Browser.getVersion")
        except BrowserError:
            browser.__exit__()
            if attempt == 2:
                raise
        else:
            browser.patience = 60.0
            return browser
    raise AssertionError("not reached")
