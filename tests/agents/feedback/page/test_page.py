"""The page as people use it: a real server in a process of its own, asked by programs and by a real browser.

The browser needs Debian's packages chromium and chromium-driver, or what is called so elsewhere.
"""

import http.client
import json
import re
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install starlette uvicorn")

from dyngen_agents.cli.main import main
from dyngen_agents.feedback.page import board_routes, chat_routes, rating_routes, why
from dyngen_agents.feedback.page.app import ASSETS, PAGES
from dyngen_agents.feedback.page.client import PageClient, Refused
from dyngen_agents.feedback.store import FeedbackStore
from tests.support.forked import forked, needs_fork
from tests.support.odd_texts import odd_texts

pytestmark = needs_fork

TOKEN = "correct horse"
PWNED = "<img src=x onerror='window.pwned=1'><script>window.pwned=1</script>"


@contextmanager
def served(store, *options):
    """`dyngen serve dialogue-lm` in a process of its own: its address."""
    command = ["serve", "dialogue-lm", "--json", "--port", "0", "--store", str(store), *options]
    said, until = store.with_name("said"), time.monotonic() + 60
    with forked(lambda: main(command), said) as server:
        while not (told := re.search(r"^{.*}$", said.read_text(), re.MULTILINE)):
            assert server.is_alive() and time.monotonic() < until, said.read_text()
            time.sleep(0.05)
        yield json.loads(told[0])["url"]
        server.terminate()
        server.join(20)


@pytest.fixture(scope="module")
def store_path(tmp_path_factory):
    return tmp_path_factory.mktemp("serve") / "feedback.db"


@pytest.fixture(scope="module")
def url(store_path):
    with served(store_path, "--token", TOKEN) as url:
        yield url


@pytest.fixture
def someone(url):
    """Logs people in."""
    people = []

    def login(name):
        people.append(PageClient(url))
        people[-1].login(name, TOKEN)
        return people[-1]

    yield login
    for person in people:
        person.close()


def raw(url, method, path, body=None, headers=None):
    """One request as it stands: status and body."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


# ---------------------------------------------------------------- programs


def test_without_the_token_there_is_only_the_login(url):
    routes = [route for module in (board_routes, chat_routes, rating_routes, why) for route in module.ROUTES]
    paths = [route.path.replace("{", "").replace(":int}", "").replace("}", "") for route in routes]
    for path in (*paths, *PAGES, *(f"/static/{name}" for name in ASSETS), "/nowhere", "/../etc/passwd", "//", "/%00"):
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS"):
            status, _ = raw(url, method, path, b"{}" if method == "POST" else None)
            assert status in (401, 403) or path == "/login.css", (method, path, status)
    wrong = json.dumps({"name": "eve", "token": "correct hors"})
    assert raw(url, "POST", "/login", wrong, {"Content-Type": "application/json"})[0] == 403
    assert raw(url, "GET", "/login")[0] == 200


def test_another_site_can_change_nothing(url, someone):
    anna = someone("anna-of-csrf")
    good = {"Cookie": anna._cookie, "X-CSRF-Token": anna._csrf, "Content-Type": "application/json"}
    body = json.dumps({"key": "k"})
    assert raw(url, "POST", "/api/dialogues", body, good)[0] == 201
    for bad in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"X-CSRF-Token": ""}):
        assert raw(url, "POST", "/api/dialogues", body, good | bad)[0] == 403
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "https://evil.example"}
    assert raw(url, "POST", "/login", f"name=eve&token={TOKEN}", form)[0] == 403


def test_two_people_at_once_and_each_sees_their_own(someone):
    anna, bob = someone("anna"), someone("bob")
    streams, told = [], []
    for person in (anna, bob):
        sent = {"text": "hello", "after": None, "settings": {"max_new_tokens": 12}, "key": "1"}
        streams.append(person.post(f"/api/dialogues/{person.begin()}/messages", sent)["writing"][0])
    for person, writing in zip((anna, bob), streams, strict=True):
        *pieces, end = person.read(writing)
        assert "".join(pieces).startswith(end["text"]) or end["text"] == ""
        told.append(end["turn"])
    for person, other, theirs in ((anna, bob, told[1]), (bob, anna, told[0])):
        assert [one["id"] for one in person.get("/api/dialogues")["dialogues"]] == [person.dialogue]
        for refused in (
            lambda p=person, o=other: p.get(f"/api/dialogues/{o.dialogue}"),
            lambda p=person, t=theirs: p.feedback("rating", [t], 4),
        ):
            with pytest.raises(Refused) as refusal:
                refused()
            assert refusal.value.status == 404
    with pytest.raises(Refused) as refusal:
        list(anna.read(streams[1]))
    assert refusal.value.status == 404
    with pytest.raises(Refused, match="give your code"):
        someone("anna")


def test_odd_texts_are_kept_as_they_are_or_refused_in_a_sentence(url, someone, store_path):
    mallory = someone("mallory")
    answer = mallory.say("hello", max_new_tokens=1)
    kept, refused = [], []
    for i, text in enumerate(odd_texts(150)):
        try:
            mallory.feedback("words", [answer["turn"]], text, key=f"{i}")
            kept.append(text)
        except Refused as refusal:
            refused.append((refusal.status, str(refusal)))
    assert {status for status, _ in refused} <= {400, 413} and all(" " in sentence for _, sentence in refused)
    with FeedbackStore(store_path, create=False) as store:
        stored = [said.value for said in store.feedback(turn=answer["turn"]) if said.kind == "words"]
    clean = [t.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\r\n", "\n") for t in kept]
    assert stored == clean and len(kept) > 100
    good = {"Cookie": mallory._cookie, "X-CSRF-Token": mallory._csrf, "Content-Type": "application/json"}
    bodies = [
        b"", b"\xff\xfe", b"null", b"[]", b"{", b'{"key": 1}', b'{"key": NaN}', b"[" * 100_000, b'{"key": "\xc3\x28"}',
        b'{"key": "' + b"x" * 1_000_000 + b'"}', b'{"key": ""}',
    ]  # fmt: skip
    for body in bodies:
        for path in ("/api/dialogues", "/api/feedback", f"/api/dialogues/{mallory.dialogue}/messages", "/login"):
            status, said = raw(url, "POST", path, body, good)
            assert status in (400, 413) or (path == "/login" and status in (403, 429)), (path, body[:20])
            assert json.loads(said)["error"]
    for settings in (
        {"temperature": 1e9},
        {"max_new_tokens": 0},
        {"banned": ["x" * 99]},
        {"banned": "x"},
        {"top_p": "1"},
    ):
        with pytest.raises(Refused) as refusal:
            mallory.say("hello", **settings)
        assert refusal.value.status == 400
    assert mallory.say("still there?", max_new_tokens=1)["turn"]


# ---------------------------------------------------------------- a browser

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")

from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

from tests.support.browser import BROWSER, DRIVER, MISSING, headless, look  # noqa: E402

in_a_browser = pytest.mark.skipif(not (BROWSER and DRIVER), reason=MISSING)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless(tmp_path_factory.mktemp("chromium"), "browser", "performance") as driver:
        yield driver


def find(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def until(browser, condition, *arguments):
    """Wait until a condition in JavaScript holds."""
    WebDriverWait(browser, 60).until(lambda b: b.execute_script(f"return Boolean({condition})", *arguments))


def wait_for(browser, selector, count=1):
    """Wait until as many elements match, and nothing is being written; returns them."""
    there = "document.querySelectorAll(arguments[0]).length === arguments[1] && !document.querySelector('.writing')"
    until(browser, there, selector, count)
    return find(browser, selector)


def click(browser, text, within="body"):
    path = f'.//button[normalize-space()="{text}"]'
    (button,) = [
        b for b in browser.find_element(By.CSS_SELECTOR, within).find_elements(By.XPATH, path) if b.is_displayed()
    ]
    button.click()


def login(browser, url, name):
    browser.get(url)
    browser.find_element(By.NAME, "name").send_keys(name)
    browser.find_element(By.NAME, "token").send_keys(TOKEN, Keys.ENTER)
    until(browser, "document.title === 'Chat · dyngen' && document.querySelector('.empty')")


def say(browser, text, answers=1):
    before = len(find(browser, ".turn.agent"))
    browser.find_element(By.ID, "message").send_keys(text, Keys.ENTER)
    return wait_for(browser, ".turn.agent", before + answers)


def contrasts(browser):
    """The least contrast (WCAG 2) between text and what is behind it."""
    return browser.execute_script("""
        const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const probe = document.createElement('i');
        document.body.append(probe);
        const light = name => {
            probe.style.color = `var(${name})`;
            c.fillStyle = getComputedStyle(probe).color; c.fillRect(0, 0, 1, 1);
            const [r, g, b] = [...c.getImageData(0, 0, 1, 1).data].map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
        };
        const pairs = [['--fg', '--bg'], ['--fg', '--card'], ['--fg', '--mine'], ['--muted', '--bg'],
            ['--muted', '--card'], ['--fg', '--good-bg'], ['--fg', '--bad-bg'], ['--on-accent', '--accent'],
            ['--bad', '--card'], ['--accent', '--card'], ['--muted', '--soft']];
        const worst = Math.min(...pairs.map(([a, b]) => {
            const [x, y] = [light(a), light(b)];
            return Math.max(x, y) / Math.min(x, y);
        }));
        probe.remove();
        return worst;""")


@in_a_browser
def test_somebody_talks_rates_compares_revises_and_comes_back(browser, url, store_path, someone):
    look(browser)
    login(browser, url, "carla")
    (answer,) = say(browser, f"Tell me about a film {PWNED}")
    assert PWNED in find(browser, ".turn.user")[0].text and not find(browser, "#talk img, #talk script")

    # Rate by the keyboard alone: from the middle three steps to the right.
    answer.find_element(By.CSS_SELECTOR, ".rate input").send_keys(Keys.ARROW_RIGHT * 3)
    until(browser, "document.querySelector('.rate input').getAttribute('aria-valuetext') === '+3'")
    find(browser, ".thumb")[0].click()
    until(browser, "document.querySelector('.thumb').getAttribute('aria-pressed') === 'true'")

    # Write it again, but ...
    click(browser, "Again, but …")
    browser.switch_to.active_element.send_keys("about the music", Keys.ENTER)
    until(browser, "document.getElementById('talk').textContent.includes('draft 2')")
    wait_for(browser, ".turn.agent")

    # Mark its first three characters as bad, and edit it.
    click(browser, "Mark")
    browser.execute_script("document.activeElement.setSelectionRange(0, 3)")
    click(browser, "Bad part")
    until(browser, "document.querySelector('mark.bad')")
    click(browser, "Done")
    click(browser, "Edit")
    browser.switch_to.active_element.send_keys(Keys.CONTROL, "a")
    browser.switch_to.active_element.send_keys("a lovely film")
    click(browser, "Keep it")
    until(browser, "document.querySelector('.turn.agent .text').textContent === 'a lovely film'")

    # Two answers, of which the first is chosen.
    browser.find_element(By.ID, "two").click()
    browser.find_element(By.ID, "message").send_keys("and the actors?", Keys.ENTER)
    first, _ = wait_for(browser, ".pair:not(.now) .turn", 2)
    chosen = first.find_element(By.CSS_SELECTOR, ".text").get_property("textContent")
    click(browser, "The first is better")
    wait_for(browser, ".turn.agent", 2)
    assert find(browser, ".turn.agent .text")[1].get_property("textContent") == chosen

    # All of it is there after a reload.
    shown = [element.get_property("textContent") for element in find(browser, ".turn .text")]
    browser.refresh()
    wait_for(browser, ".turn.agent", 2)
    assert [element.get_property("textContent") for element in find(browser, ".turn .text")] == shown
    with FeedbackStore(store_path, create=False) as store:
        carla = store.person("carla")
        kinds = [said.kind for said in store.feedback(person=carla)]
        (dialogue,) = store.dialogues(carla)
    assert sorted(kinds) == ["correction", "preference", "rating", "span", "thumbs", "words"]

    # Why did it write that?
    find(browser, ".turn.agent")[1].find_element(By.XPATH, ".//button[.='Why?']").click()
    browser.switch_to.frame("why-frame")
    until(browser, "document.querySelector('.token')")
    assert "temperature 0.7" in browser.find_element(By.ID, "run").text
    browser.switch_to.default_content()
    browser.switch_to.active_element.send_keys(Keys.ESCAPE)

    # A second person in the same browser sees nothing of it, nor does a program.
    dora = someone("dora")
    assert dora.get("/api/dialogues") == {"dialogues": []}
    browser.find_element(By.CSS_SELECTOR, "#me summary").click()
    click(browser, "Log out")
    until(browser, "document.querySelector('form[action=\"/login\"]')")
    login(browser, url, "emil")
    assert find(browser, ".turn") == [] and find(browser, "#dialogues li") == []
    browser.get(f"{url}/why/{dialogue.id}")
    assert "no turn" in browser.page_source


@in_a_browser
def test_odd_texts_run_no_script(browser, url, someone):
    texts = [t for t in odd_texts(60) if t.strip() and len(t) < 300]
    fred = someone("fred")
    shown = []
    for text in texts[:12]:
        fred.say(text, max_new_tokens=1)
        shown.append(text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\r\n", "\n"))
    browser.delete_all_cookies()
    browser.get(f"{url}/login")
    name, value = fred._cookie.split("=", 1)
    browser.add_cookie({"name": name, "value": value})
    browser.get(url)
    wait_for(browser, ".turn.user", len(shown))
    found = [element.get_property("textContent") for element in find(browser, ".turn.user .text")]
    assert found == shown
    assert browser.execute_script("return window.pwned") is None and not find(
        browser, "#talk img, #talk script, #talk b"
    )


@in_a_browser
def test_one_key_rates_one_text(browser, url, store_path, someone):
    rater = someone("gina")
    with FeedbackStore(store_path, create=False) as store:
        run = store.begin_dialogue(None, opening="The film")
        turns = [store.add_turn(run, "agent", f"was {word}.", after=None) for word in ("good", "bad")]
        store.enqueue("rating", turns[0])
        store.enqueue("preference", turns)
    browser.delete_all_cookies()
    browser.get(f"{url}/login")
    name, value = rater._cookie.split("=", 1)
    browser.add_cookie({"name": name, "value": value})
    browser.get(f"{url}/rate")
    wait_for(browser, ".task")
    assert "The film" in find(browser, ".task")[0].text and "1 more" in browser.find_element(By.ID, "count").text
    ActionChains(browser).send_keys("8").perform()
    wait_for(browser, ".pair")
    ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
    until(browser, "document.getElementById('count').textContent.startsWith('2 done')")
    with FeedbackStore(store_path, create=False) as store:
        given = store.feedback(person=store.person("gina"))
    assert [(said.kind, said.value, said.turns) for said in given] == [
        ("rating", 3.0, (turns[0].id,)), ("preference", None, (turns[1].id, turns[0].id))
    ]  # fmt: skip
    browser.get(f"{url}/board")
    until(browser, "document.querySelector('.plot .dot')")


@in_a_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_width_and_both_schemes(browser, url, scheme):
    for path in ("/", "/rate", "/board"):
        for width in (320, 390, 1100):
            look(browser, scheme, width)
            browser.get(url + path)
            until(browser, "document.querySelector('#me p')")
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert contrasts(browser) >= 4.5


@in_a_browser
def test_nothing_is_asked_of_anybody_else_and_nothing_went_wrong(browser, url):
    """Last: what the browser has done in all tests of this file."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    elsewhere = [address for address in asked if not address.startswith((url, "data:", "about:", "chrome:"))]
    assert len(asked) > 20 and elsewhere == []
    entries = [entry for entry in browser.get_log("browser") if "status of 40" not in entry["message"]]
    assert entries == []
