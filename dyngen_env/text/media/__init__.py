"""Pictures and sounds that an episode shows beside its words, and how they stand among the tokens of a context."""

from dyngen_env.text.media.medium import Medium
from dyngen_env.text.media.picture import Picture
from dyngen_env.text.media.room import NO_MEDIA, MediaRoom
from dyngen_env.text.media.sound import Sound, medium_of

__all__ = ["NO_MEDIA", "MediaRoom", "Medium", "Picture", "Sound", "medium_of"]
