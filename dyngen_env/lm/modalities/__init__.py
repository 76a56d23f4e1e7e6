"""How a language model sees and hears: an encoder makes vectors of media, which stand among its word embeddings.

lm = load_model("reviews-lm", fresh=True)
attach_encoder(lm, small_encoder(lm, pictures=(32, 32)))         # belongs to the model from now on
policy = CausalLMPolicy(lm, env.token_distribution())            # sees what `env` shows, and learns to
"""

from dyngen_env.lm.modalities.attached import attach_encoder, detached_encoder, encoder_of
from dyngen_env.lm.modalities.encoder import MediaEncoder
from dyngen_env.lm.modalities.folder import load_encoder, save_encoder
from dyngen_env.lm.modalities.parts import pretrained_encoder, small_encoder

__all__ = [
    "MediaEncoder",
    "attach_encoder",
    "detached_encoder",
    "encoder_of",
    "load_encoder",
    "pretrained_encoder",
    "save_encoder",
    "small_encoder",
]
