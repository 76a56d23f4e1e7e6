"""The page of `dyngen inspect` in a real browser: colours that switch, numbers on hover and focus, any text.

Needs Debian's packages chromium and chromium-driver, or the browser and driver that are called so elsewhere.
"""

import pytest

from dyngen_agents.inspection.page import write_page
from tests.agents.inspection.test_inspect import NASTY

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install selenium")

from selenium.webdriver import ActionChains, Keys  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

from tests.support.browser import BROWSER, DRIVER, MISSING, headless, look  # noqa: E402

pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason=MISSING)


def token(text, advantage, entropy, **more):
    top = [[1, " good", 0.5, 0.25], [2, NASTY[0], 0.0001, 0.0]]
    numbers = dict(advantage=advantage, entropy=entropy, logprob=-3.0, ref_logprob=-2.0)
    return dict(id=7, text=text, control=False, rank=3, top=top) | numbers | more


TOKENS = [
    token(" the", 0.5, 0.0), token(" fi\u05e9\u05dc\u05d5\u05dd", -2.0, 4.0), token("⏎\n", 0.0, 2.0),
    *(token(text, 0.25, 1.0) for text in NASTY),
    token("x" * 300, 2.0, 1.0, id=1), token("<|eos|>", 1.0, 1.0, control=True),
]  # fmt: skip
DATA = {
    "run": dict(
        folder=NASTY[2], algorithm="ppo", updates=3, model=NASTY[0], env="dyngen/Dialogue-v0", reward=NASTY[1],
        prompts="eval", seed=0, sampling={"temperature": 1.0, "top_k": 0, "top_p": 1.0},
    ),
    "quantities": [
        dict(key="advantage", label="advantage", about="Signed", unit="", signed=True),
        dict(key="entropy", label="entropy", about="Unsigned", unit="nats", signed=False),
    ],
    "notes": [NASTY[0]],
    "episodes": [
        {
            "turns": [
                {"role": "user", "pieces": [["<|bos|>", True], [NASTY[2], False]], "rating": None},
                {"role": "agent", "tokens": TOKENS},
                {"role": "user", "pieces": [[NASTY[0], False]], "rating": -2.0, "unread": True},
            ],
            "finish_reason": "goal",
            "return": 1.5,
            "reward_terms": {"rating": 1.5, NASTY[2]: 0.0},
        },
        {
            "turns": [{"role": "agent", "tokens": [token(" one", 0.0, 0.0)]}],
            "finish_reason": "stop",
            "return": 0.0,
            "reward_terms": {},
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with headless(tmp_path_factory.mktemp("chromium"), "browser") as driver:
        yield driver


@pytest.fixture
def shown(browser, tmp_path):
    """The page, opened at a desk's size in light; afterwards the console must be empty."""
    write_page(DATA, tmp_path / "page.html")
    look(browser)
    browser.get((tmp_path / "page.html").as_uri())
    yield browser
    assert browser.get_log("browser") == []
    assert browser.execute_script("return window.pwned") is None


def find(browser, selector):
    return browser.find_elements(By.CSS_SELECTOR, selector)


def backgrounds(browser):
    script = "return [...document.querySelectorAll('.token')].map(e => getComputedStyle(e).backgroundColor)"
    return browser.execute_script(script)


def tip(browser):
    (element,) = find(browser, "#tip")
    return element.text if element.is_displayed() else None


def keys(browser, *pressed):
    ActionChains(browser).send_keys(*pressed).perform()


def test_text_is_text(shown):
    assert [element.text for element in find(shown, ".role")] == ["user", "agent", "user −2", "agent"]
    tokens = [e.get_attribute("textContent") for e in find(shown, "article:first-of-type .token")]
    assert tokens == [t["text"] for t in TOKENS]
    assert NASTY[2] in find(shown, "#run")[0].text and find(shown, "#notes")[0].text == NASTY[0]
    assert find(shown, "article .given")[0].text == "<|bos|>" + NASTY[2]
    assert find(shown, "article .given")[1].text == NASTY[0] + " (after the end: the agent never read it)"
    ends = [element.text.split("\n") for element in find(shown, ".end")]
    assert ends[0] == ["ended: goal", "return +1.500", "rating +1.500", f"{NASTY[2]} 0.000"]
    assert len(find(shown, "script")) == 2 and not find(shown, "img") and not find(shown, "main b b")


def test_the_switch_changes_colours_and_the_legend(shown):
    signed = backgrounds(shown)
    assert find(shown, "#ramp")[0].text.split() == ["−2.000", "0", "+2.000"]
    assert signed[2] == signed[-1]  # both zero: no colour at all
    assert len({signed[0], signed[1], signed[2], signed[3]}) == 4
    full = shown.execute_script("return getComputedStyle(document.documentElement).getPropertyValue('--pos')")
    assert same_colour(shown, signed[-3], full)  # the greatest has the full colour
    (radio,) = find(shown, "input[value=entropy]")
    radio.find_element(By.XPATH, "..").click()
    assert radio.is_selected() and find(shown, "#ramp")[0].text.split() == ["0", "4.000"]
    assert find(shown, "#about")[0].text == "Unsigned (nats)."
    unsigned = backgrounds(shown)
    assert all(a != b for a, b in zip(unsigned[1:-1], signed[1:-1], strict=True))
    assert unsigned[0] == unsigned[-1] and len(set(unsigned[:4])) == 4


def same_colour(browser, one, other):
    """Whether two CSS colours paint the same pixel."""
    script = """
        const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        return arguments[0].map(x => {
            c.fillStyle = x; c.fillRect(0, 0, 1, 1); return [...c.getImageData(0, 0, 1, 1).data];
        })"""
    a, b = browser.execute_script(script, [one.strip(), other.strip()])
    return all(abs(x - y) <= 1 for x, y in zip(a, b, strict=True))


def test_the_pointer_shows_numbers(shown):
    assert tip(shown) is None
    tokens = find(shown, ".token")
    ActionChains(shown).move_to_element(tokens[1]).perform()
    lines = tip(shown).split("\n")
    assert lines[0].startswith("␣fi") and lines[1] == f"id 7 · token 2 of {len(TOKENS)} · rank 3 by π"
    assert "advantage −2.000 entropy 4.000" in tip(shown).replace("\n", " ")
    rows = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in find(shown, "#tip tr")[1:]]
    # π of the chosen token, which is not among the likeliest here, is exp(-3), π_ref is exp(-2)
    assert [row[0] for row in rows[:2]] == ["␣good", NASTY[0].replace(" ", "␣")]
    assert [row[2:] for row in rows] == [["50.0 %", "25.0 %"], ["<0.1 %", "<0.1 %"], ["5.0 %", "13.5 %"]]
    assert [row.get_attribute("class") for row in find(shown, "#tip tr")[1:]] == ["", "", "chosen"]
    ActionChains(shown).move_to_element(find(shown, "h1")[0]).perform()
    assert tip(shown) is None
    ActionChains(shown).move_to_element(tokens[-3]).perform()
    assert [row.get_attribute("class") for row in find(shown, "#tip tr")[1:]] == ["chosen", ""]


def test_the_keyboard_reaches_everything(shown):
    keys(shown, Keys.TAB)
    assert shown.switch_to.active_element.get_attribute("value") == "advantage"
    keys(shown, Keys.ARROW_RIGHT)
    assert find(shown, "#ramp")[0].text.split() == ["0", "4.000"]
    keys(shown, Keys.TAB)
    assert "token 1 of" in tip(shown)
    keys(shown, Keys.ARROW_RIGHT)
    assert "token 2 of" in tip(shown)
    active = shown.switch_to.active_element
    assert active.get_attribute("aria-describedby") == "tip" and active.get_attribute("aria-selected") == "true"
    keys(shown, Keys.END)
    assert f"token {len(TOKENS)} of" in tip(shown)
    keys(shown, Keys.ARROW_RIGHT)
    assert f"token {len(TOKENS)} of" in tip(shown)
    keys(shown, Keys.HOME)
    assert "token 1 of" in tip(shown)
    keys(shown, Keys.ESCAPE)
    assert tip(shown) is None
    keys(shown, Keys.TAB)  # each turn is one stop
    assert "token 1 of 1" in tip(shown)
    ActionChains(shown).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    assert f"token 1 of {len(TOKENS)}" in tip(shown)


def test_dark_is_dark_and_keeps_its_contrast(shown):
    def worst():
        """The least contrast (WCAG 2) between text and what is behind it, over the full colours and the cards."""
        return shown.execute_script("""
            const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
            const style = getComputedStyle(document.documentElement), css = n => style.getPropertyValue(n).trim();
            const light = colour => {
                c.fillStyle = colour; c.fillRect(0, 0, 1, 1);
                const [r, g, b] = [...c.getImageData(0, 0, 1, 1).data].map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
            };
            const pairs = [['--fg', '--pos'], ['--fg', '--neg'], ['--fg', '--seq'], ['--muted', '--card'],
                ['--muted', '--bg'], ['--muted', '--tip'], ['--fg', '--bg']];
            return Math.min(...pairs.map(([a, b]) => {
                const [x, y] = [light(css(a)), light(css(b))];
                return Math.max(x, y) / Math.min(x, y);
            }));""")

    ground = find(shown, "body")[0].value_of_css_property("background-color")
    assert worst() >= 4.5
    look(shown, "dark")
    assert find(shown, "body")[0].value_of_css_property("background-color") != ground
    assert worst() >= 4.5


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_nothing_is_wider_than_the_window(shown, width):
    look(shown, width=width)
    for element in find(shown, ".token")[1:-1:4]:
        shown.execute_script("arguments[0].focus()", element)
        inside = shown.execute_script("""
            const tip = document.getElementById('tip').getBoundingClientRect();
            return [document.documentElement.scrollWidth <= innerWidth, tip.left >= 0, tip.right <= innerWidth]""")
        assert inside == [True, True, True]
