"""Speech on the page: recordings become words on the server, and each bad recording is one sentence."""

import io
import json
import wave
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="uvicorn is not installed: pip install starlette uvicorn")

from dyngen_agents.feedback.page.access import Access
from dyngen_agents.feedback.page.app import make_app
from dyngen_agents.feedback.page.chat import Chat
from dyngen_agents.feedback.page.guard import MAX_BODY, MAX_SOUND
from dyngen_agents.feedback.page.served_model import TurnSettings
from dyngen_agents.feedback.store import Person
from tests.support.asgi import ask

ACCESS, ADA = Access(bytes(32)), Person(1, "ada", 0.0)


class Loudness:
    """Writes down that it heard something, and for how long."""

    def transcribe(self, sound):
        return f"heard {sound.seconds:g} s" if sound.samples.any() else ""


def posted(recogniser, body, path="/api/speech"):
    """Status and JSON of what a person gets for a body."""
    model = SimpleNamespace(name="m", settings=TurnSettings(), frame=SimpleNamespace(max_context_tokens=64))
    chat = Chat(SimpleNamespace(people=lambda name: [ADA]), model, SimpleNamespace(open_in=lambda dialogue: []), None)
    cookie = ACCESS.cookie(ADA)
    headers = {"host": "localhost", "cookie": f"dyngen={cookie}", "x-csrf-token": ACCESS.csrf(cookie)}
    method = "GET" if body is None else "POST"
    status, _, said = ask(make_app(chat, ACCESS, recogniser=recogniser), method, path, headers, body or b"")
    return status, json.loads(said)


def recording(seconds, rate=16000, loud=0.2):
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((32767 * loud * np.sin(np.arange(int(seconds * rate)))).astype("<i2").tobytes())
    return file.getvalue()


def test_a_recording_becomes_words():
    assert posted(Loudness(), recording(2)) == (200, {"text": "heard 2 s"})
    assert len(recording(20)) > MAX_BODY and posted(Loudness(), recording(20))[0] == 200
    assert posted(Loudness(), None, "/api/me")[1]["hears"] is True


@pytest.mark.parametrize(
    "body, status, sentence",
    [
        (recording(1, rate=44100), 400, "has 44100 samples a second: expected 16000"),
        (recording(1, loud=0), 400, "no words were heard: speak up"),
        (b"RIFF no sound", 400, "no WAV file of PCM samples, or a damaged one"),
        (b"", 400, "no WAV file"),
        (bytes(MAX_SOUND + 1), 413, f"a request may have {MAX_SOUND} bytes here"),
    ],
)
def test_each_bad_recording_is_one_sentence(body, status, sentence):
    found, said = posted(Loudness(), body)
    assert found == status and sentence in said["error"] and "\n" not in said["error"]


def test_without_a_recogniser_it_says_what_to_install():
    status, said = posted(None, recording(1))
    assert status == 501 and "pip install 'dyngen-env[speech]'" in said["error"]
    assert posted(None, None, "/api/me")[1]["hears"] is False
