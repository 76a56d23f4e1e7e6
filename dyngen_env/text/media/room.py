"""How many media a context may show, and how large they are: tasks and users declare it, so that shapes are fixed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dyngen_env.text.media.medium import Medium
from dyngen_env.text.media.picture import Picture
from dyngen_env.text.media.sound import LONGEST, SAMPLING_RATE, Sound


@dataclass(frozen=True)
class MediaRoom:
    """Room for media. A task's holds what an example may show, a user's what an answer may.

    Attributes:
        pictures: how many, at most. picture_size: (H, W) of each, in pixels.
        sounds: how many, at most. seconds: of each, at most.

    Raises:
        ValueError: a negative number, or pictures or sounds without a size.
    """

    pictures: int = 0
    picture_size: tuple[int, int] = (0, 0)
    sounds: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if min(self.pictures, self.sounds) < 0:
            raise ValueError(f"{self}: expected numbers from 0 on")
        if self.pictures and min(self.picture_size) < 1:
            raise ValueError(f"{self}: say how large the pictures are, as picture_size=(32, 32)")
        if self.sounds and not 0 < self.seconds <= LONGEST:
            raise ValueError(f"{self}: say how long the sounds are, up to seconds={LONGEST}")

    def __bool__(self) -> bool:
        """Whether there is room for anything."""
        return bool(self.pictures or self.sounds)

    @property
    def samples(self) -> int:
        """How many samples a sound has, at most."""
        return round(self.seconds * SAMPLING_RATE)

    def times(self, count: int) -> MediaRoom:
        """Room for what `count` examples or answers show."""
        return MediaRoom(self.pictures * count, self.picture_size, self.sounds * count, self.seconds)

    def __add__(self, other: MediaRoom) -> MediaRoom:
        """Room for both. Raises ValueError if their pictures have two sizes."""
        if self.pictures and other.pictures and self.picture_size != other.picture_size:
            raise ValueError(f"pictures of {self.picture_size} and {other.picture_size}: {ONE_SIZE}")
        return MediaRoom(
            self.pictures + other.pictures,
            self.picture_size if self.pictures else other.picture_size,
            self.sounds + other.sounds,
            max(self.seconds, other.seconds),
        )

    def either(self, other: MediaRoom) -> MediaRoom:
        """Room for one of both, whichever it is. Raises ValueError as `+`."""
        most = {name: max(getattr(self, name), getattr(other, name)) for name in ("pictures", "sounds")}
        return replace(self + other, **most)

    def check(self, media: Sequence[Medium]) -> None:
        """Raises ValueError if there is no room for one of the media, they are too many, or one has another size."""
        for medium in media:
            if isinstance(medium, Picture) and self.pictures:
                if medium.size != self.picture_size:
                    raise ValueError(
                        f"a picture has {medium.size} pixels, and here they have {self.picture_size}: {ONE_SIZE}"
                    )
            elif isinstance(medium, Sound) and self.sounds:
                if len(medium.samples) > self.samples:
                    raise ValueError(f"a sound has {medium.seconds:.2f} s, and here at most {self.seconds:g} s: cut it")
            else:
                raise ValueError(
                    f"a {medium.kind} is to be shown, and what makes it has not declared any: give the task (or the "
                    "user) that makes it an attribute `media`, such as MediaRoom(pictures=1, picture_size=(32, 32))"
                )
        for kind, room in ((Picture, self.pictures), (Sound, self.sounds)):
            shown = sum(isinstance(medium, kind) for medium in media)
            if shown > room:
                raise ValueError(
                    f"{shown} {kind.kind}s are shown at once, and the attribute `media` of the task (or the user) "
                    f"declares {room}: raise {kind.kind}s={room} of its MediaRoom, or show fewer"
                )


ONE_SIZE = "scale them to one size, by Picture.from_file(path, size=(H, W))"
NO_MEDIA = MediaRoom()


def declared_media(owner: object) -> MediaRoom:
    """What a task or a user says by an attribute `media` that it may show; nothing where it has none.

    Raises:
        ValueError: the attribute is no `MediaRoom`.
    """
    room = getattr(owner, "media", NO_MEDIA)
    if not isinstance(room, MediaRoom):
        raise ValueError(
            f"{type(owner).__name__}.media={room!r}: expected a MediaRoom, such as MediaRoom(sounds=1, seconds=4); "
            "leave the attribute out where nothing is shown"
        )
    return room


def room_of(shown: Iterable[Sequence[Medium]]) -> MediaRoom:
    """The least room for each of these media of an example or answer. Raises ValueError if pictures have two sizes."""
    room = NO_MEDIA
    for media in shown:
        if media:
            pictures = [medium for medium in media if isinstance(medium, Picture)]
            sounds = [medium for medium in media if isinstance(medium, Sound)]
            size = pictures[0].size if pictures else room.picture_size
            seconds = max([room.seconds, *(sound.seconds for sound in sounds)])
            if room.pictures and size != room.picture_size:
                raise ValueError(f"pictures of {room.picture_size} and {size} pixels: {ONE_SIZE}")
            room = MediaRoom(max(room.pictures, len(pictures)), size, max(room.sounds, len(sounds)), seconds)
            room.check(media)
    return room
