"""Images embedded in the page, without duplicates."""

import base64
import hashlib
from collections.abc import Mapping

LIMIT_BYTES = 20 * 2**20  # total size of a page's images


class EmbeddedImages:
    """Collects images up to `limit` bytes; `contents` maps a key of the content to its data URI."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.limit, self.size = limit, 0
        self.contents: dict[str, str] = {}
        self.refused: set[str] = set()  # keys of contents beyond the limit

    def add(self, pictures: Mapping[str, bytes]) -> list[dict[str, str]]:
        """Add a run's images, name -> PNG; returns name and key of those that are in the page."""
        keys = {name: self._add(content) for name, content in pictures.items()}
        return [{"name": name, "content": key} for name, key in keys.items() if key is not None]

    def _add(self, content: bytes) -> str | None:
        key = hashlib.sha256(content).hexdigest()[:16]
        if key not in self.contents:
            if self.size + len(content) > self.limit:
                self.refused.add(key)
                return None
            self.size += len(content)
            self.contents[key] = "data:image/png;base64," + base64.b64encode(content).decode()
        return key
