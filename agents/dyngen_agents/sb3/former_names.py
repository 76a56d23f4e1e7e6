"""Files that Stable-Baselines3 saved with version 0.1 stay readable: the names that are pickled in them lead here.

SB3 pickles its classes, and a pickle finds a class by the name of its module. In version 0.1 ours began with `agents.`,
a name that other packages and many people's own folders have, too.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

# Former module -> what SB3 saved of it -> the module that it is in today.
FORMER = {
    "agents.policy": {"SamplingConfig": "dyngen_env.lm.distribution"},
    "agents.sb3.policy": {"LMActorCriticPolicy": "dyngen_agents.sb3.policy"},
    "agents.sb3.segments": {"SegmentRolloutBuffer": "dyngen_agents.sb3.segments"},
    "agents.sb3.maskable": {"MaskableLMActorCriticPolicy": "dyngen_agents.sb3.maskable"},
}


class FormerModule(ModuleType):
    """Stands under a former name in `sys.modules` and imports what is asked of it when it is asked."""

    def __getattr__(self, name: str) -> Any:
        if name not in FORMER[self.__name__]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(FORMER[self.__name__][name]), name)


def register_former_names() -> None:
    """Put the former names in `sys.modules`, except those of modules that somebody else's package `agents` has.

    Nothing is registered as `agents` itself: `import agents` finds another's package, or fails as it does without us.
    """
    for name in FORMER:
        if name not in sys.modules and not _is_somebody_elses(name):
            sys.modules[name] = FormerModule(name)


def _is_somebody_elses(name: str) -> bool:
    """Whether the module can be found on `sys.path`. Looks for files and imports nothing, parents included."""
    places: list[str] | None = None  # sys.path
    for part in name.split("."):
        if places == []:
            return False  # the part before is a file, which has no modules in it
        spec = PathFinder.find_spec(part, places)
        if spec is None:
            return False
        places = list(spec.submodule_search_locations or [])
    return True
