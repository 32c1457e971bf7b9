"""Types that JSON lacks, in Flask's own tags, as in its cookie sessions: a tuple is ``{" t": [...]}``. Pure.

An app may register more, as Flask documents it: ``app.session_interface.serializer.register(Tag)``, with a
``flask.json.tag.JSONTag``. As with Flask's own sessions, that is for all apps of the process.
"""

from __future__ import annotations

import json
import math
from typing import Any

from flask.json.tag import TaggedJSONSerializer

TAGS = TaggedJSONSerializer()
_FLASKS = frozenset(TAGS.order)


def _finite(digits: str) -> float:
    if math.isfinite(number := float(digits)):
        return number
    raise ValueError(f"{digits} is not JSON")


# Python's own json keeps what msgspec refuses: half a surrogate pair, in a text. Escaped, so the bytes are still UTF-8.
encode_slowly = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
decode_slowly = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode


def are_registered() -> bool:
    """Return whether there are more tags than Flask's own. Then any value may be one for them, a plain one too."""
    return len(TAGS.order) > len(_FLASKS)


def tag(value: Any) -> Any:
    """Return `value` in JSON's own types, with tags for the others."""
    if are_registered() and (one := next((one for one in TAGS.order if one.check(value)), None)) not in _FLASKS:
        return value if one is None else decode_slowly(encode_slowly(one.tag(value)))  # as it will be read again
    if isinstance(value, dict):
        tagged = {key: tag(item) for key, item in value.items()}
        if len(tagged) == 1 and (key := next(iter(tagged))) in TAGS.tags:  # looks like a tag, is none: Flask marks it
            return {" di": {f"{key}__": tagged[key]}}
        return tagged
    if isinstance(value, list | tuple):
        items = [tag(item) for item in value]
        return items if isinstance(value, list) else {" t": items}
    return TAGS.tag(value)


def untag(value: Any) -> Any:
    """Return what `tag` was given."""
    if isinstance(value, dict):
        return TAGS.untag({key: untag(item) for key, item in value.items()})
    return [untag(item) for item in value] if isinstance(value, list) else value
