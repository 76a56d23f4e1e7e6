"""How many tokens a picture or a sound takes before a model, which its encoder decides."""

from __future__ import annotations

import json
from pathlib import Path

from dyngen_env.lm.loading.models import load_model
from dyngen_env.lm.loading.sources import resolve
from dyngen_env.lm.modalities.attached import encoder_of
from dyngen_env.lm.modalities.folder import has_encoder, places_in
from dyngen_env.lm.modalities.parts import PLACES


def places_of(model: str | None) -> dict[str, int]:
    """The number of tokens before a model of this name, by kind of media.

    The files of an encoder say it; a model that sees by itself is loaded and asked; for others it is the default.
    """
    source = None if model is None else resolve(model)
    if model is None or source is None or source.kind != "folder":
        return dict(PLACES)
    folder = Path(source.path)
    if has_encoder(folder):
        return PLACES | places_in(folder)
    if "vision_config" in json.loads((folder / "config.json").read_text(encoding="utf-8")):
        encoder = encoder_of(load_model(model))
        return PLACES | ({} if encoder is None else encoder.places)
    return dict(PLACES)
