"""Why did it write that? The token map of `dyngen inspect` for one turn of a dialogue."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import torch
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dyngen_agents.algorithms.algorithm import Quantity
from dyngen_agents.data.trajectories import Trajectories
from dyngen_agents.feedback.page.fields import wrong
from dyngen_agents.feedback.page.served_model import ServedModel, TurnSettings
from dyngen_agents.feedback.page.services import services
from dyngen_agents.feedback.page.teaching import memory_from
from dyngen_agents.feedback.store import Turn
from dyngen_agents.functional.losses import kl_k1
from dyngen_agents.inspection.episode_record import episode_record
from dyngen_agents.inspection.page import page
from dyngen_agents.policy.reference import Reference
from dyngen_env.lm.distribution import SamplingConfig


async def why(request: Request) -> Response:
    """GET /why/{turn}: a page like that of `dyngen inspect`, for one of the person's own turns."""
    its, number = services(request), request.path_params["turn"]
    turn = await run_in_threadpool(lambda: its.chat.own_turn(its.person(request), number))
    if not turn.tokens or not turn.context:
        wrong("nobody knows the tokens of this turn", 404)
    future = its.chat.writer.call(lambda: token_map(its.chat.model, turn))
    html = page(await run_in_threadpool(future.result))
    # Its script and style stand in it: they may run because the server says which they are, and nothing else may.
    hashes = {tag: " ".join(_hashes(html, tag)) for tag in ("script", "style")}
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    headers = {"Content-Security-Policy": policy, "X-Frame-Options": "SAMEORIGIN"}
    return Response(html, media_type="text/html; charset=utf-8", headers=headers)


@torch.no_grad()
def token_map(model: ServedModel, turn: Turn) -> dict[str, Any]:
    """What the page shows: each token of a turn with its numbers, under the model as it is now.

    The numbers are those of the turn's temperature and banned words, without top-k and top-p, so that what the model
    before training would not have drawn has a number, too. To be called on the writer's thread.
    """
    assert turn.tokens is not None and turn.context is not None
    s = turn.sampling
    plain = SamplingConfig(s.get("temperature") or 1.0)
    distribution = model.distribution(TurnSettings(plain, tuple(s.get("banned", ()))))
    policy, reference = model.policy, Reference(model.reference.lm, distribution)
    policy.distribution = distribution
    tokens = torch.tensor([[*turn.context, *turn.tokens]], device=model.lm.device)
    mask = torch.arange(tokens.shape[1], device=tokens.device)[None] >= len(turn.context)
    memory = None if s.get("memory") is None else memory_from(s["memory"])
    notes = None if memory is None else memory.as_notes(len(memory.notes), tokens.device)
    new = policy.evaluate(tokens, mask, notes=notes)
    ref_logprobs = reference.logprobs(tokens, mask, notes)
    nothing = torch.zeros(1, device=tokens.device)
    batch = Trajectories(
        tokens=tokens,
        completion_mask=mask,
        logprobs=new.logprobs,
        values=torch.zeros_like(new.logprobs),
        rewards=torch.zeros_like(new.logprobs),
        bootstrap=nothing,
        groups=nothing.long(),
        texts=[turn.text],
        finish_reasons=[str(s.get("finish", ""))],
        dialogues=[None],
        notes={} if notes is None else {"tokens": notes.tokens, "labels": notes.labels, "begins": notes.begins},
    )
    moved = "log π − log π_ref of this token: above zero, training made it likelier"
    quantities = [
        Quantity(
            "logprob", "log-prob", "log π of this token: far below zero is a surprise", new.logprobs, "nats", False
        ),
        Quantity(
            "entropy", "entropy", "How open the choice was: entropy of π at this token", new.entropies, "nats", False
        ),
        Quantity("kl", "KL", moved, kl_k1(new.logprobs, ref_logprobs), "nats"),
    ]
    numbers = {quantity.key: quantity.values for quantity in quantities} | {"ref_logprob": ref_logprobs}
    episode = episode_record(model.tokenizer, policy, reference, batch, numbers, 0) | {"return": None}
    written = turn.model.version if turn.model and turn.model.version else "the model as it was loaded"
    about = f"{model.name} · temperature {plain.temperature:g} · written by {written}"
    return {
        "run": {"folder": model.name, "about": about},
        "quantities": [dict(key=q.key, label=q.label, about=q.about, unit=q.unit, signed=q.signed) for q in quantities],
        "notes": ["π is the model as it is now, π_ref the one before training."],
        "episodes": [episode],
    }


def _hashes(html: str, tag: str) -> list[str]:
    """What a content security policy calls the scripts or styles that stand in a page."""
    bodies = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'" for body in bodies]


ROUTES = [Route("/why/{turn:int}", why)]
