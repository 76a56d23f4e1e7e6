"""Text generation as a Gymnasium environment: `import dyngen_env`, then `gym.make("dyngen/Sentiment-v0")`."""

from dyngen_env.envs.env import TextGenEnv
from dyngen_env.envs.vector_env import TextGenVectorEnv
from dyngen_env.mdp.state import TokenState
from dyngen_env.registration import register_all
from dyngen_env.text.media import Picture, Sound
from dyngen_env.types import Dialogue, Example, Feedback, Transition

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
]

register_all()
