"""Pictures inside the page, each content once."""

import base64
import hashlib
from collections.abc import Mapping

LIMIT_BYTES = 20 * 2**20  # of all pictures of a page


class EmbeddedImages:
    """Collects pictures up to `limit` bytes; `contents` is a short name of the content -> its data URI."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.limit, self.size = limit, 0
        self.contents: dict[str, str] = {}
        self.refused: set[str] = set()  # short names of contents beyond the limit

    def add(self, pictures: Mapping[str, bytes]) -> list[dict[str, str]]:
        """Take a run's pictures, name -> PNG; returns name and short name of those that are in the page."""
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
