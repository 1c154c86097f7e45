"""The reference pages are what the code says, and every route says something."""

from pathlib import Path

import pytest
from litestar import Litestar, get, websocket
from litestar.openapi.config import OpenAPIConfig

from gridspine.apps.cli import reference
from gridspine.infra.runtime.settings import Settings

# The handlers still let Litestar 2 infer what each parameter is, which Litestar 3 will not; building the application
# says so once a parameter.
pytestmark = pytest.mark.filterwarnings("ignore::litestar.exceptions.LitestarDeprecationWarning")

PAGES = Path(__file__).parents[2] / "docs" / "reference"


def stale(folder: Path) -> list[str]:
    """Return the reference pages in ``folder`` that are not what the code says."""
    return [
        name
        for name, text in reference.pages().items()
        if not (folder / name).is_file() or (folder / name).read_text() != text
    ]


def test_the_pages_are_up_to_date() -> None:
    assert stale(PAGES) == [], "run: make docs"


def test_a_stale_or_missing_page_is_found(tmp_path: Path) -> None:
    assert stale(tmp_path) == list(reference.pages())
    reference.main(str(tmp_path))
    assert stale(tmp_path) == []
    page = tmp_path / "settings.md"
    page.write_text(page.read_text().replace("8600", "8601"))
    assert stale(tmp_path) == ["settings.md"]


def test_every_route_is_documented() -> None:
    assert reference.undocumented_routes(reference.described_app()) == []


def test_a_route_without_words_is_found() -> None:
    @get("/silent")
    async def silent() -> str:
        return ""

    @get("/spoken")
    async def spoken() -> str:
        """Say it."""
        return ""

    @websocket("/socket")
    async def socket(socket: object) -> None: ...

    config = OpenAPIConfig("planted", "0", use_handler_docstrings=True)
    found = reference.undocumented_routes(Litestar([silent, spoken, socket], openapi_config=config))
    assert found == ["GET /silent", "WebSocket /socket"]


@pytest.mark.parametrize("words", ["/commands", "/token", "POST"])
def test_the_http_page_lists_the_routes(words: str) -> None:
    assert words in reference.http_page()


def test_the_settings_page_lists_defaults_and_variables() -> None:
    page = reference.settings_page()
    assert f"| `http.port` | `GRIDSPINE_HTTP__PORT` | `{Settings().http.port}` |" in page
