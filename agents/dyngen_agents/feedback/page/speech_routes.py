"""HTTP for speech: a recording comes in, what a recogniser on this machine made of it goes out."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dyngen_agents.feedback.page.fields import wrong
from dyngen_agents.feedback.page.services import services
from dyngen_env.text.media import Sound


async def speech(request: Request) -> Response:
    """POST /api/speech: the body is a WAV file of 16,000 samples a second; the answer has its words as `text`.

    The sound is not kept. What is said becomes a message only when the person sends it.
    """
    recogniser = services(request).recogniser
    if recogniser is None:
        wrong(
            "there is no recogniser here: pip install 'dyngen-env[speech]', then dyngen serve --recogniser FOLDER "
            "with a Whisper model",
            501,
        )
    sound = Sound.from_file(await request.body())
    text = await run_in_threadpool(recogniser.transcribe, sound)
    return JSONResponse({"text": text}) if text else wrong("no words were heard: speak up, and nearer")


ROUTES = [Route("/api/speech", speech, methods=["POST"])]
