#!/usr/bin/env python3
"""Reports in a real browser: hostile texts do not run, the page's own script does, and 2,000 events are no burden.

usage: chromium.py [FOLDER]   reports and screenshots go there (default: target/report)
Needs the binary (target/debug/premeasure, or what PREMEASURE names) and Debian's chromium.
"""

import hashlib
import json
import os
import struct
import subprocess
import sys
import time
import urllib.parse
from pathlib import Path

from browser import Browser

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PREMEASURE = os.environ.get("PREMEASURE", str(TARGET / "debug/premeasure"))
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET / "report"
LOG = ROOT / "fixtures/boots/c-sdboot-257/eventlog.bin"
HOSTILE = [
    "</script><script>document.title='hacked'</script>",
    "<img src=x onerror=\"document.title='hacked'\">",
    "\"><svg onload=\"document.title='hacked'\">",
    "<a href=\"javascript:document.title='hacked'\">",
    "--></style><script>document.title='hacked'</script>",
]
UNSEEN = "\u202egnp.exe\u2066\x1b[2J"
EV_IPL, EV_VARIABLE, EV_ACTION = 0xD, 0x80000001, 0x80000007


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    browser = Browser()
    try:
        for test in [ten_events, hostile, policy_holds, without_script, search, keyboard, download, many_events, looks]:
            start = time.monotonic()
            test(browser)
            print(f"{test.__name__}: ok, {time.monotonic() - start:.1f} s")
    finally:
        browser.close()


# --- logs and reports -------------------------------------------------------------------------------------------------


def records(log):
    """A crypto-agile log: its header and its records (PFP 1.06, section 10.2)."""
    def header_end():
        return 32 + struct.unpack_from("<I", log, 28)[0]

    sizes = {4: 20, 11: 32, 12: 48, 13: 64}
    position, found = header_end(), []
    while position < len(log):
        start, (count,) = position, struct.unpack_from("<I", log, position + 8)
        position += 12
        for _ in range(count):
            position += 2 + sizes[struct.unpack_from("<H", log, position)[0]]
        position += 4 + struct.unpack_from("<I", log, position)[0]
        found.append(log[start:position])
    return log[: header_end()], found


def record(pcr, kind, data):
    """A record with digests of the fixtures' four banks."""
    banks = [(4, "sha1"), (11, "sha256"), (12, "sha384"), (13, "sha512")]
    digests = b"".join(struct.pack("<H", number) + hashlib.new(name, data).digest() for number, name in banks)
    return struct.pack("<III", pcr, kind, len(banks)) + digests + struct.pack("<I", len(data)) + data


def write_log(name, extra, count=None):
    """Real records, repeated up to `count`, and others behind them."""
    header, real = records(LOG.read_bytes())
    count = len(real) if count is None else count
    path = FOLDER / name
    path.write_bytes(header + b"".join(real[index % len(real)] for index in range(count)) + b"".join(extra))
    return path


def hostile_records(texts=HOSTILE):
    utf16 = [record(12, EV_IPL, text.encode("utf-16-le") + b"\0\0") for text in texts]
    variable = bytes(16) + struct.pack("<QQ", len(UNSEEN), 0) + UNSEEN.encode("utf-16-le")
    return utf16 + [record(5, EV_ACTION, text.encode()) for text in texts] + [record(7, EV_VARIABLE, variable)]


def report(name, *arguments):
    path = FOLDER / name
    run = subprocess.run([PREMEASURE, *map(str, arguments), "--html", str(path)], capture_output=True, check=False)
    assert run.returncode in (0, 1), run.stderr.decode()
    return path.as_uri()


# --- tests ------------------------------------------------------------------------------------------------------------


def quiet(browser, url, title="hacked", **options):
    """The page loads without a complaint, and nothing changed its title."""
    seconds = browser.open(url, **options)
    assert browser.messages() == [], browser.messages()
    assert title not in browser.value("document.title.split(':')[0]")
    return seconds


def shown(browser):
    return browser.value("[...document.querySelectorAll('li.event')].filter((e) => e.checkVisibility()).length")


def ten_events(browser):
    url = report("ten.html", "log", "show", write_log("ten.bin", [], count=9))
    quiet(browser, url)
    assert shown(browser) == 10
    assert browser.value("document.getElementById('tools').hidden") is False
    assert browser.value("document.documentElement.scrollWidth <= innerWidth"), "wider than the window"


def hostile(browser):
    log = write_log("hostile <img src=x onerror=document.title='hacked'>.bin", hostile_records())
    quiet(browser, report("hostile.html", "log", "show", log))
    quiet(browser, report("hostile-compare.html", "compare", LOG, log))
    found = browser.value("[...document.querySelectorAll('main *')].filter((e) => /^(script|img|svg|iframe|style)$/i.test(e.tagName)).length")
    assert found == 0
    text = browser.value("document.querySelector('main').textContent")
    assert all(part in text for part in [*HOSTILE, "\\u{202e}gnp.exe\\u{2066}\\u{1b}[2J"])


def policy_holds(browser):
    """The control: markup that does get into a page is stopped by its policy, and these tests would see it run."""
    page = (FOLDER / "ten.html").read_text()
    attack = "<script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\"><p style='color:red'>"
    (FOLDER / "attacked.html").write_text(page.replace("<footer>", attack + "<footer>"))
    browser.open((FOLDER / "attacked.html").as_uri())
    assert browser.value("document.title") != "hacked"
    assert len(browser.messages()) >= 3, browser.messages()
    policy = page.index("<meta http-equiv"), page.index("<meta name=\"viewport\"")
    (FOLDER / "unguarded.html").write_text((page[: policy[0]] + page[policy[1]:]).replace("<footer>", attack + "<footer>"))
    browser.open((FOLDER / "unguarded.html").as_uri())
    assert browser.value("document.title") == "hacked"


def without_script(browser):
    browser.open((FOLDER / "ten.html").as_uri(), scripts=False)
    assert shown(browser) == 10
    assert browser.value("document.getElementById('tools').checkVisibility()") is False
    browser.value("document.querySelector('li.event summary').click()")
    assert browser.value("document.querySelector('li.event details').open") is True


def search(browser):
    url = report("compare.html", "compare", LOG, ROOT / "fixtures/boots/m-smbios-257/eventlog.bin")
    for query, events in [("pcr:12", 1), ("smbios_stub", 1), ("section .linux", 2), ("no such thing", 0), ("pcr:4 boot", 4)]:
        browser.open(f"{url}#q={urllib.parse.quote(query)}")
        assert shown(browser) == events, (query, shown(browser))
        assert browser.value("document.getElementById('found').textContent").startswith(f"{events} of ")
    browser.open(url)
    total = shown(browser)
    browser.value("document.getElementById('flagged').click()")
    assert shown(browser) == 2 < total
    browser.value("document.getElementById('flagged').click()")
    assert shown(browser) == total
    browser.value("document.querySelector('#first a').click()")
    assert browser.value("document.activeElement.closest('li.event').textContent.includes('smbios_stub=1')")


def keyboard(browser):
    """Tab reaches the skip link first, and Enter opens an event."""
    browser.open((FOLDER / "compare.html").as_uri())
    browser.key("Tab", 9)
    assert browser.value("document.activeElement.className") == "skip"
    assert browser.value("document.activeElement.getBoundingClientRect().top >= 0"), "the focus can't be seen"
    browser.value("document.querySelector('li.event summary').focus()")
    browser.key("Enter", 13)
    assert browser.value("document.activeElement.parentElement.open") is True


def download(browser):
    """The link saves what `--json` prints."""
    folder = FOLDER / "downloads"
    for old in folder.glob("*"):
        old.unlink()
    browser.call("Browser.setDownloadBehavior", session=None, behavior="allow", downloadPath=str(folder), eventsEnabled=True)
    browser.open((FOLDER / "compare.html").as_uri())
    browser.value("document.getElementById('save').click()")
    saved = folder / "comparison.json"
    deadline = time.monotonic() + 20
    while not saved.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    printed = subprocess.run([PREMEASURE, "compare", LOG, ROOT / "fixtures/boots/m-smbios-257/eventlog.bin", "--json"],
                             capture_output=True, check=False).stdout
    assert json.loads(saved.read_text()) == json.loads(printed)
    assert browser.messages() == [], browser.messages()


def many_events(browser):
    """2,000 events: loaded within seconds, also on a busy machine, and searched within one."""
    log = write_log("many.bin", hostile_records(), count=2000 - 2 - 2 * len(HOSTILE))
    other = write_log("many-other.bin", hostile_records(HOSTILE[:3]), count=1990)
    for name, arguments in [("many.html", ["log", "show", log]), ("many-compare.html", ["compare", log, other])]:
        start = time.monotonic()
        url = report(name, *arguments)
        wrote = time.monotonic() - start
        loaded = quiet(browser, url)
        events = shown(browser)
        assert events >= 1990, events
        browser.value("(document.getElementById('search').value = 'separator', 0)")
        milliseconds = browser.value(
            "(() => { const start = performance.now(); const box = document.getElementById('flagged');"
            " box.checked = false; box.dispatchEvent(new Event('change')); document.body.offsetHeight;"
            " return performance.now() - start; })()")
        assert 0 < shown(browser) < events
        size = (FOLDER / name).stat().st_size
        print(f"  {name}: {events} events, {size} bytes, written in {wrote:.2f} s, loaded in {loaded:.2f} s, "
              f"searched in {milliseconds:.0f} ms")
        assert loaded < 15 and milliseconds < 3000


def looks(browser):
    """Screenshots to look at; light and dark differ, narrow windows need no sideways scrolling, paper is white."""
    report("predict.html", "predict", ROOT / "fixtures/t-tiny-257/uki.efi")
    report("diff.html", "diff", ROOT / "fixtures/t-tiny-257/uki.efi", ROOT / "fixtures/t3-tiny-262/uki.efi")
    for name in ["ten", "hostile-compare", "compare", "predict", "diff", "many-compare"]:
        browser.open((FOLDER / f"{name}.html").as_uri())
        backgrounds = []
        for scheme in ["light", "dark"]:
            browser.scheme(scheme)
            backgrounds.append(browser.value("getComputedStyle(document.body).backgroundColor"))
            browser.screenshot(FOLDER / f"{name}-{scheme}.png")
        assert backgrounds[0] == "rgb(255, 255, 255)" != backgrounds[1], backgrounds
        browser.value("document.getElementById('unfold').click()")
        for width in [800, 400]:
            browser.size(width, 1600)
            browser.scheme("light")
            browser.screenshot(FOLDER / f"{name}-{width}.png")
            assert browser.value("document.documentElement.scrollWidth <= innerWidth"), f"{name} at {width}"
        if name != "many-compare":
            assert browser.pdf(FOLDER / f"{name}.pdf").startswith(b"%PDF-")


if __name__ == "__main__":
    main()
