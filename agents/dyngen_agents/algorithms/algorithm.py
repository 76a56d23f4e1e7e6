"""What the rest of the package knows of a learning algorithm: its settings, its experience, its updates, its state.

To add an algorithm, write a file with a frozen dataclass of settings and a class that satisfies `Algorithm`, and name
it in `registry.py`. The learner, the checkpoint, the inspection page, the reward bench and the command then know it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol


class AlgorithmConfig(Protocol):
    """The hyper-parameters of an algorithm: a frozen dataclass, every field with a default and a line of explanation.

    The command shows the class's docstring as the help of `dyngen train <name>`, and the fields as its options.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
