"""The pages in a real browser, headless Chromium: signing in, a log that grows, buttons, and that no text becomes code.

With SFBATCH_TEST_SCREENSHOTS=<directory> pictures of the pages are left there, to be looked at.
"""

import os
import shutil
from pathlib import Path

import pytest
from live import until
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here (apt-get install chromium)")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]  # fmt: skip
HOSTILE = "<script>window.hacked = 1</script></pre><img src=x onerror='window.hacked = 2'>"


@pytest.fixture(scope="module")
def chromium():
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, live):
    """A signed-in tab. Fails when the browser's console saw an error, such as a breach of our own policy."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{live.url}/")
    page.fill("input[name=token]", live.token)
    page.click("button:has-text('Sign in')")
    page.wait_for_url(f"{live.url}/")
    yield page
    hacked = page.evaluate("window.hacked")
    context.close()
    assert hacked is None
    # Chromium reports each answer of 416 to a log's "what is new?".
    assert [text for text in errors if "416" not in text] == []


def picture(tab, name):
    folder = os.environ.get("SFBATCH_TEST_SCREENSHOTS")
    if folder:
        tab.screenshot(path=Path(folder) / f"{name}.png")


def test_a_log_grows_and_the_end_is_shown_without_a_reload(live, tab):
    go = live.home / "go"
    job_id = live.submit(["-c", f"echo first; {until(go)}; echo second; exit 4"], name="grows")
    live.running(job_id)
    tab.goto(f"{live.url}/jobs/{job_id}")
    stdout = tab.locator("pre").first
    expect(stdout).to_have_text("first")
    assert tab.locator("#state .state").text_content() == "RUNNING"
    go.touch()
    expect(stdout).to_have_text("first second")  # white space counts as one space
    tab.wait_for_selector("#state[data-final] .FAILED")
    assert stdout.text_content() == "first\nsecond\n"
    assert "exit code 4" in tab.locator("#state").text_content()
    assert tab.locator("button.danger").count() == 0


def test_hostile_text_is_never_run(live, tab):
    job_id = live.submit(["-c", "cat x; cat x >&2; sleep 2; cat x"], files={"x": HOSTILE}, name=HOSTILE, tags=[HOSTILE])
    tab.goto(f"{live.url}/jobs/{job_id}")
    tab.wait_for_selector("#state[data-final]")
    expect(tab.locator("pre").first).to_have_text(HOSTILE + HOSTILE)
    assert tab.locator("h1").text_content() == HOSTILE
    tab.goto(f"{live.url}/")
    assert tab.locator("td a").first.text_content() == HOSTILE


def test_the_buttons_kill_and_run_again(live, tab):
    job_id = live.submit(["-c", "sleep 60"], name="to be killed")
    live.running(job_id)
    tab.goto(f"{live.url}/jobs/{job_id}")
    tab.click("button:has-text('Kill')")
    tab.wait_for_selector("#state[data-final] .KILLED")
    tab.click("button:has-text('Run again')")
    tab.wait_for_url(lambda url: not url.endswith(job_id))
    new = tab.url.rpartition("/")[2]
    live.running(new)
    live.api.delete(f"{live.base}/jobs/{new}", timeout=60)


def test_the_list_is_filtered_by_hand_and_the_pages_can_be_looked_at(live, tab):
    for n, end in enumerate(["true", "exit 3", "true"]):
        job_id = live.submit(
            ["-c", f"echo 'rows of 2016100{n}: 336776'; {end}"], name=f"flights of 2016100{n}", tags=["team:air"]
        )
        live.ended(job_id)
    told = '{"job": "seen", "table": "dev.flights", "version": 7, "operation": "write", "partitions": {"day=20161001": "20161103101500", "day=20161002": "20161103101500"}}'
    live.submit(
        ["-c", f"echo reading; echo 'sfbatch-published {told}' >&2; sleep 300"], id="seen", name="flights, corrected"
    )
    live.running("seen")
    tab.goto(f"{live.url}/")
    tab.fill("input[name=name]", "flights")
    tab.click("button:has-text('Filter')")
    expect(tab.locator("tbody tr")).to_have_count(4)
    picture(tab, "jobs-list")
    tab.click("a:has-text('flights, corrected')")
    tab.wait_for_selector("#published td:has-text('20161103101500')")
    picture(tab, "jobs-job")
    tab.goto(f"{live.url}/clusters")
    assert tab.locator("article#local").count() == 1
    picture(tab, "jobs-clusters")
    live.api.delete(f"{live.base}/jobs/seen", timeout=60)
