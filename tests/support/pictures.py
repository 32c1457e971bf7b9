"""Pictures of pages: each holds the text of its page, and two can be compared from afar."""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

KIND, KEYWORD = b"iTXt", b"Text\0\0\0\0\0"  # of a piece of a PNG: text in UTF-8, not compressed, of no language
HEADER = 33  # bytes: what a PNG begins with, its width and height among it

#: What differs each time: words with digits, what was shortened, days and months.
CHANGES = re.compile(r"\S*[\d…]\S*|\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b,?")

#: Colours of 20 times 16 fields of a picture, each the mean of what is there.
FIELDS = """async url => {
    const size = {resizeWidth: 20, resizeHeight: 16, resizeQuality: "high"};
    const picture = await createImageBitmap(await (await fetch(url)).blob(), size);
    const canvas = new OffscreenCanvas(20, 16).getContext("2d");
    canvas.drawImage(picture, 0, 0);
    return [...canvas.getImageData(0, 0, 20, 16).data];
}"""


def take_picture(page: Page) -> bytes:
    """Return a PNG of what one sees, which holds all text of the page."""
    picture = page.screenshot()
    body = KEYWORD + CHANGES.sub("*", page.locator("main").inner_text()).encode()
    text = struct.pack(">I", len(body)) + KIND + body + struct.pack(">I", zlib.crc32(KIND + body))
    return picture[:HEADER] + text + picture[HEADER:]


def read_text(picture: bytes) -> str:
    """Return the text that a picture holds. Empty: there is none."""
    return "".join(body.removeprefix(KEYWORD).decode() for kind, body in _pieces(picture) if kind == KIND)


def _pieces(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 8
    while place < len(picture):
        (size,) = struct.unpack_from(">I", picture, place)
        yield picture[place + 4 : place + 8], picture[place + 8 : place + 8 + size]
        place += size + 12


def find_difference(page: Page, one: bytes, other: bytes) -> float:
    """Return how far the colours of two pictures are apart in the mean, of 255. `page`: one without a policy."""
    urls = [f"data:image/png;base64,{base64.b64encode(picture).decode()}" for picture in (one, other)]
    fields: list[list[int]] = [page.evaluate(FIELDS, url) for url in urls]
    return sum(abs(a - b) for a, b in zip(fields[0], fields[1], strict=True)) / len(fields[0])
