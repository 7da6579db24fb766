"""Parse addresses of MongoDB servers, and print them without passwords."""

from debiaslab.core.errors import UserError

MONGO_URL = "DEBIAS_MONGO_URL"  # environment variable; the only place for a password
MONGO_TIMEOUT_MS = 4_000
DEFAULT_DATABASE = "debiaslab"


def parse_address(url: str) -> tuple[str, str]:
    """Parse "HOST:PORT:DB", "DB" or "mongodb://.../DB" into (URL for pymongo, database); raises `UserError`."""
    if "://" in url:
        from pymongo.errors import ConfigurationError, InvalidURI
        from pymongo.uri_parser import parse_uri

        try:
            return url, parse_uri(url, validate=False)["database"] or DEFAULT_DATABASE
        except (InvalidURI, ConfigurationError, ValueError):
            raise unreadable_address(url) from None
    parts = url.split(":") if ":" in url else ["localhost", "27017", url]
    if len(parts) != 3 or not all(parts) or not parts[1].isdigit() or not 0 < int(parts[1]) < 65536:
        raise unreadable_address(url)
    host, port, database = parts
    return f"mongodb://{host}:{port}", database


def unreadable_address(url: str) -> UserError:
    found = without_password(url)
    if "://" in url and "@" in url:
        return UserError(
            f"cannot read the MongoDB address of {found!r}: in the user name and the password, special characters are"
            " written as %XX: @ as %40, : as %3A, / as %2F, % as %25"
        )
    return UserError(f"cannot read the MongoDB address {found!r}; write HOST:PORT:DB or mongodb://HOST:PORT/DB")


def without_password(url: str) -> str:
    """`url` without everything before an @, and without options."""
    scheme, separator, rest = url.rpartition("://")
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0]


def reason(error: Exception) -> str:
    """The first part of a pymongo error. Contains no credentials: pymongo leaves them out."""
    return str(error).partition(",")[0].partition(" (configured timeouts")[0] or type(error).__name__
