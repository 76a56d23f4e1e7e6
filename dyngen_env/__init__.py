"""Text generation as a Gymnasium environment: `import dyngen_env`, then `gym.make("dyngen/Sentiment-v0")`.

The import registers the ids. Each name below loads the module that defines it, and with it PyTorch, when it is first
asked for; so does each part of the package, such as `dyngen_env.rewards`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dyngen_env.registration import register_all

if TYPE_CHECKING:
    from dyngen_env.envs.env import TextGenEnv
    from dyngen_env.envs.mix import mix
    from dyngen_env.envs.vector_env import TextGenVectorEnv
    from dyngen_env.mdp.state import TokenState
    from dyngen_env.text.media import Picture, Sound
    from dyngen_env.types import Dialogue, Example, Feedback, Transition

_DEFINED_IN = {
    "Dialogue": "types",
    "Example": "types",
    "Feedback": "types",
    "Picture": "text.media",
    "Sound": "text.media",
    "TextGenEnv": "envs.env",
    "TextGenVectorEnv": "envs.vector_env",
    "TokenState": "mdp.state",
    "Transition": "types",
    "mix": "envs.mix",
}

_PARTS = ("envs", "lm", "mdp", "rewards", "scoring", "tasks", "testing", "text", "types", "users", "wrappers")

__version__ = "0.2.0"  # the distribution's: the build reads it here

__all__ = [
    "Dialogue",
    "Example",
    "Feedback",
    "Picture",
    "Sound",
    "TextGenEnv",
    "TextGenVectorEnv",
    "TokenState",
    "Transition",
    "__version__",
    "mix",
]

register_all()


def __getattr__(name: str) -> Any:
    """A public name, from the module that defines it, or a part of the package (PEP 562)."""
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_DEFINED_IN[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PARTS})
