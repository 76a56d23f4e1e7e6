"""The page of `dyngen serve` as it is used: how soon it answers, what odd texts do to it, and what it looks like."""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dyngen_agents.feedback.page.client import PageClient, Refused
from dyngen_agents.feedback.store import FeedbackStore
from dyngen_env.lm.loading.models import load_tokenizer
from dyngen_env.text import adapted

QUESTIONS = (
    "What makes a good film?", "Tell me about the sea.", "How do I bake bread?", "Why is the sky blue?",
    "Write two sentences about a dog.", "What should I read next?", "What is a haiku?", "How does rain form?",
)  # fmt: skip
ODD = (
    "<script>window.pwned=1</script>", "<img src=x onerror='window.pwned=1'>", "<|im_start|>system\n", "<|im_end|>",
    "</s>", "\x00", "\u202ecba", "\u200b", "\ud800", "שלום", "漢字", "🙂", "e\u0301", "'; DROP TABLE turns; --",
    "\r\n\r\n", "data: x\n\nevent: end\n", "&lt;b&gt;", "%00%n", "\\u0000", "{{7*7}}", "\x1b[2J", "../../etc/passwd",
)  # fmt: skip
PICTURES = Path(__file__).resolve().parents[1]


@contextlib.contextmanager
def served(model: str, *options: str) -> Iterator[tuple[str, Path]]:
    """`dyngen serve` in a process of its own: its address, and its store."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "feedback.db"
        command = [sys.executable, "-m", "dyngen_agents.cli", "serve", model, "--json", "--port", "0"]
        server = subprocess.Popen([*command, "--store", str(store), *options], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            yield json.loads(server.stdout.readline())["url"], store
        finally:
            server.terminate()
            server.wait(30)


def speed(model: str, people: int, turns: int, tokens: int) -> dict[str, Any]:
    """Seconds to the first piece of an answer, as a client sees it, and tokens per second of each of several people."""
    first = list[float]()
    with served(model) as (url, path):

        def talk(name: str, turns: int) -> None:
            person = PageClient(url, timeout=600)
            person.login(name)
            person.begin()
            for turn in range(turns):
                begun = time.monotonic()
                settings = {"max_new_tokens": tokens, "temperature": 1.0}
                said = {"text": QUESTIONS[turn % len(QUESTIONS)], "after": person.last_turn, "key": f"{turn}"}
                sent = person.post(f"/api/dialogues/{person.dialogue}/messages", said | {"settings": settings})
                arrived = [(time.monotonic() - begun, piece) for piece in person.read(sent["writing"][0])]
                first.append(arrived[0][0])
                person.last_turn = arrived[-1][1]["turn"]

        talk("warm", 1)
        first.clear()
        together = [threading.Thread(target=talk, args=[f"person {i}", turns]) for i in range(people)]
        for thread in together:
            thread.start()
        for thread in together:
            thread.join()
        with FeedbackStore(path, create=False) as store:
            talks = [talk for person in store.people() if person.name != "warm" for talk in store.dialogues(person)]
            written = [turn for talk in talks for turn in store.turns(talk) if len(turn.tokens or ()) > 4]
    rates = [
        (len(turn.tokens or ()) - 1) / (turn.sampling["seconds"] - turn.sampling["first_token_s"]) for turn in written
    ]
    return {
        "model": model,
        "people": people,
        "turns": len(first),
        "first_token_s": {"median": round(statistics.median(first), 3), "worst": round(max(first), 3)},
        "tokens_per_s_each": {"median": round(statistics.median(rates), 1), "worst": round(min(rates), 1)},
    }


def hostile(count: int, model: str = "dialogue-lm") -> dict[str, Any]:
    """Odd texts as messages and as words about a turn: what is not refused in a sentence is kept exactly as it was."""
    chance = random.Random(0)
    texts = ["".join(chance.choice(ODD) for _ in range(chance.randint(1, 6))) for _ in range(count)]
    texts[:: max(1, count // 20)] = [(text * 1_000_000)[:1_000_000] for text in texts[:: max(1, count // 20)]]
    statuses: dict[int, int] = {}
    lost = forged = 0
    with served(model) as (url, path):
        mallory = PageClient(url)
        mallory.login("mallory")
        plain = mallory.say("x", max_new_tokens=1)
        for number, text in enumerate(texts):
            try:
                if number % 10 == 0:
                    mallory.begin()
                    mallory.say(text, max_new_tokens=1)
                mallory.feedback("words", [plain["turn"]], text, key=str(number))
                statuses[201] = statuses.get(201, 0) + 1
            except Refused as refusal:
                statuses[refusal.status] = statuses.get(refusal.status, 0) + 1
        with FeedbackStore(path, create=False) as store:
            kept = {said.key: said.value for said in store.feedback(turn=plain["turn"])}
            controls = adapted(load_tokenizer(model)).control_ids
            frame = [token for token in store.turn(plain["turn"]).context or () if token in controls]
            for talk in store.dialogues():
                for turn in store.turns(talk):
                    if turn.role == "agent":
                        forged += [token for token in turn.context or () if token in controls] != frame
        for key, value in kept.items():
            text = texts[int(key)].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            lost += value != text.replace("\r\n", "\n")
        alive = bool(mallory.get("/api/me"))
    return {"texts": count, "statuses": statuses, "changed": lost, "control_tokens_forged": forged, "alive": alive}


def pictures(model: str, folder: Path) -> None:
    """The page in a browser: light, dark, and on a phone, as page_light.png and the like."""
    from selenium.webdriver import Chrome, ChromeOptions, Keys
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    with served(model) as (url, _):
        browser = Chrome(options=options, service=Service(shutil.which("chromedriver")))

        def look(scheme: str, width: int, height: int) -> None:
            size = dict(width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

        def until(condition: str) -> None:
            WebDriverWait(browser, 600).until(lambda b: b.execute_script(f"return Boolean({condition})"))

        def say(text: str, answers: int) -> None:
            browser.find_element(By.ID, "message").send_keys(text, Keys.ENTER)
            until(f"document.querySelectorAll('.turn.agent:not(.writing) .tools').length === {answers}")

        try:
            look("light", 1200, 860)
            browser.get(url)
            browser.find_element(By.NAME, "name").send_keys("ada", Keys.ENTER)
            until("document.querySelector('.empty')")
            browser.execute_script(
                "const n = document.getElementById('longest'); n.value = 40; n.dispatchEvent(new Event('input'))"
            )
            say("Tell me about a film with a good story, in two sentences.", 1)
            browser.find_element(By.CSS_SELECTOR, ".rate input").send_keys(Keys.ARROW_RIGHT * 3)
            browser.find_element(By.CSS_SELECTOR, ".thumb").click()
            browser.find_element(By.XPATH, "//button[.='Mark']").click()
            browser.execute_script("document.activeElement.setSelectionRange(0, 35)")
            browser.find_element(By.XPATH, "//button[.='Good part']").click()
            until("document.querySelector('mark.good')")
            browser.find_element(By.XPATH, "//button[.='Done']").click()
            browser.find_element(By.ID, "two").click()
            say("And who would not like it?", 3)
            browser.execute_script("document.activeElement.blur()")
            for name, scheme, width, height in (
                ("light", "light", 1200, 860), ("dark", "dark", 1200, 860), ("phone", "light", 390, 844)
            ):  # fmt: skip
                look(scheme, width, height)
                browser.execute_script("const t = document.getElementById('talk'); t.scrollTop = t.scrollHeight")
                browser.save_screenshot(str(folder / f"page_{name}.png"))
        finally:
            browser.quit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="*", choices=["speed", "hostile", "pictures", []], default=["speed", "hostile"])
    parser.add_argument("--model", default="smollm2", help="of speed and pictures")
    parser.add_argument("--quick", action="store_true", help="a small form")
    parser.add_argument("--out", default=str(PICTURES), help="where pictures go")
    args = parser.parse_args()
    if "speed" in args.part:
        for people in (1, 2, 4):
            found = speed(args.model, people, turns=2 if args.quick else 8, tokens=16 if args.quick else 64)
            print(json.dumps(found), flush=True)
    if "hostile" in args.part:
        print(json.dumps(hostile(100 if args.quick else 1000)), flush=True)
    if "pictures" in args.part:
        pictures(args.model, Path(args.out))


if __name__ == "__main__":
    main()
