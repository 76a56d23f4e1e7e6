"""Learning while people talk: a background learner that takes each rated turn and swaps what it learned in between."""

from dyngen_agents.feedback.live.config import LiveConfig
from dyngen_agents.feedback.live.learner import LiveLearner
from dyngen_agents.feedback.live.ledger import Ledger, StoreLedger
from dyngen_agents.feedback.live.log import RatedTurn
from dyngen_agents.feedback.live.versions import Version

__all__ = ["Ledger", "LiveConfig", "LiveLearner", "RatedTurn", "StoreLedger", "Version"]
