"""Text generation as a Gymnasium environment: `import dyngen_env`, then `gym.make("dyngen/Sentiment-v0")`."""

from dyngen_env.env import TextGenEnv
from dyngen_env.registration import register_all
from dyngen_env.structs import Dialogue, Example, Feedback, TokenState, Transition
from dyngen_env.vector_env import TextGenVectorEnv

register_all()

__all__ = ["Dialogue", "Example", "Feedback", "TextGenEnv", "TextGenVectorEnv", "TokenState", "Transition"]
