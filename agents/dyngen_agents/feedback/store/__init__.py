"""The store of people's feedback: one SQLite file, in which every rating leads to exactly what was rated.

from dyngen_agents.feedback.store import FeedbackStore, ModelStamp

store = FeedbackStore("feedback.db")
dialogue = store.begin_dialogue(store.person("ada"), ModelStamp("smollm2"))
store.add_turn(dialogue, "user", "Any good films?")
answer = store.add_turn(dialogue, "agent", "Alien!", tokens=[44, 7], logprobs=[-0.1, -2.5])
store.add_feedback("rating", dialogue.person, answer, 3)
"""

from dyngen_agents.feedback.store.connection import StoreError
from dyngen_agents.feedback.store.feedback_store import FeedbackStore
from dyngen_agents.feedback.store.filling import filling
from dyngen_agents.feedback.store.forgetting import Forgotten
from dyngen_agents.feedback.store.records import (
    Dialogue,
    Lease,
    ModelStamp,
    NotInStore,
    Person,
    StoredFeedback,
    Task,
    Turn,
)
from dyngen_agents.feedback.store.values import KINDS

__all__ = [
    "KINDS",
    "Dialogue",
    "FeedbackStore",
    "Forgotten",
    "Lease",
    "ModelStamp",
    "NotInStore",
    "Person",
    "StoreError",
    "StoredFeedback",
    "Task",
    "Turn",
    "filling",
]
