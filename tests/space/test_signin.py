"""Sign in with Hugging Face: a visitor's token does for them what it may, and stays nowhere.

The Space runs as the Hub runs it: with its variables and secrets (so the server holds its owner's
token), with https in front, and with the Hub as the OpenID provider.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.hub.server import LoggedRequest
from tests.publishing import make_ranking
from tests.space.server import RESULTS, SpaceServer, text_ranking
from tests.space.test_browser import (
    SECOND,
    ask_for,
    browser,
    in_browser,
    lines_of_text,
    names,
    overlap,
)
from tests.waiting import PATIENCE

pytest.importorskip("authlib", reason="needs gradio[oauth]")

__all__ = ["browser"]  # used by pytest

pytestmark = [*in_browser, pytest.mark.slow]

HERS = "anna/secret-shapes"
OURS = "me/secret-shapes"
VIEW = "board=me/reviews&metric=sfda_cv&tab=rank-my-dataset&q=bert"


@pytest.fixture(scope="module")
def deployed(tmp_path_factory) -> Iterator[SpaceServer]:
    """The Space of `me`; a private dataset of `me` and one of `anna`, and a board on the latter."""
    space = SpaceServer(tmp_path_factory.mktemp("deployed"))
    try:
        space.seed_data()
        sha = space.hub.put(HERS, space.hub.files("me/shapes"), repo_type="dataset", private=True)
        made_up = make_ranking(dataset=HERS, dataset_sha=sha)
        space.publish([made_up, text_ranking()])
        space.serve_as_deployed()
        yield space
    finally:
        space.stop()


@pytest.fixture(scope="module")
def visit(browser, deployed):
    """Opens pages as visitors who do not know each other.

    ``before`` is called with the page before it is opened.
    """
    contexts = []

    def open_page(
        query: str = "",
        *,
        on_the_hub: str | None = None,
        width: int = 1280,
        before=lambda page: None,
    ):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, ignore_https_errors=True
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE * SECOND)
        if on_the_hub:
            token = deployed.hub.account(on_the_hub)
            context.add_cookies([{"name": "token", "value": token, "url": deployed.hub.url}])
        page = context.new_page()
        before(page)
        page.goto(f"{deployed.url}?{query}")
        _wait_for_board(page)
        return page

    yield open_page
    for context in contexts:
        context.close()


@dataclass
class Visit:
    """Of somebody who signed in and ranked a private dataset.

    Attributes:
        came_back_to: Where the Hub sent her after she signed in.
        page: As it was left.
        requests: What the Hub was asked meanwhile.
        commands: Command lines of the server's processes meanwhile.
    """

    came_back_to: str
    page: object
    requests: list[LoggedRequest]
    commands: set[bytes]


@pytest.fixture(scope="module")
def anna(visit, deployed) -> Visit:
    page = visit(f"{VIEW}&__theme=dark", on_the_hub="anna")
    addresses = []
    page.on("framenavigated", lambda frame: addresses.append(frame.url))
    sign_in(page)
    came_back_to = next(url for url in addresses if "/login/" not in url)
    before, commands = len(deployed.hub.requests), set()
    ask_for(page, HERS, "acme/vit-a", "acme/vit-b")
    page.wait_for_selector("#plan .plan")
    page.click("#start-button")
    while not page.locator("#own-board .board").count():
        commands |= _command_lines(deployed.pid)
        page.wait_for_timeout(100)
        assert not page.locator("#progress .trouble").count(), page.inner_text("#progress")
    return Visit(came_back_to, page, deployed.hub.requests[before:], commands)


@pytest.fixture(scope="module")
def stranger(visit):
    """Somebody who is never signed in."""
    return visit()


def sign_in(page) -> None:
    page.get_by_role("button", name="Sign in with Hugging Face").click()
    page.get_by_role("button", name="Sign out (anna)").wait_for()
    _wait_for_board(page)


def _wait_for_board(page) -> None:
    page.wait_for_selector("#board .sfda[data-ready]", state="attached")


def refusal(page, dataset: str) -> str:
    """What a visitor is told who may not have a dataset ranked."""
    ask_for(page, dataset, "acme/vit-a")
    page.locator("#plan .trouble", has_text=dataset).wait_for()
    assert not page.locator("#start-button").is_visible()
    return page.inner_text("#plan .trouble")


# -- the first view


def test_a_slow_network_does_not_keep_the_leaderboard_from_showing(visit, deployed):
    """The button's event ends before the page's other events arrive, and the page learns it later.

    gradio loses the result of an event that joins its queue just then.
    """
    joined = []

    def join_late(route):
        joined.append(route)
        if len(joined) > 1:
            route.request.frame.page.wait_for_timeout(0.3 * SECOND)
        route.continue_()

    with deployed.slow_streams(1.0):
        page = visit(before=lambda page: page.route("**/queue/join*", join_late))
    assert joined, "the button does not use the queue any more"
    assert names(page, "#board")
    page.close()


# -- who is not signed in


def test_nobody_reads_with_the_token_of_the_server(stranger, deployed):
    before = len(deployed.hub.requests)
    for dataset in (HERS, OURS):
        assert "sign in with Hugging Face" in refusal(stranger, dataset)
    asked = deployed.hub.requests[before:]
    private = [request for request in asked if "secret-shapes" in request.path]
    assert {request.path.split("secret-shapes")[0] for request in private} == {
        "/api/datasets/anna/", "/api/datasets/me/"
    }  # fmt: skip
    assert {(request.account, request.status) for request in private} == {(None, 404)}


# -- who is


def test_signing_in_leads_back_to_the_same_view(anna):
    assert parse_qs(urlsplit(anna.came_back_to).query) == parse_qs(f"{VIEW}&__theme=dark")


def test_her_dataset_is_read_with_her_token_alone(anna):
    assert set(names(anna.page, "#own-board")) == {"acme/vit-a", "acme/vit-b"}
    hers = [request for request in anna.requests if HERS in request.path]
    assert any(path.endswith(".parquet") for path in (request.path for request in hers))
    assert {request.account for request in hers} == {"anna"}
    # The owner's token reads the results, and nothing a visitor asks for.
    owners = {request.path for request in anna.requests if request.account == "me"}
    assert all(f"/{RESULTS}" in path for path in owners), owners


def test_her_token_is_stored_nowhere(anna, deployed):
    tokens = _tokens(deployed, "anna")
    assert len(tokens) >= 2  # her own, and what she lent the Space
    files = [p for place in (deployed.temporary, deployed.home) for p in place.rglob("*")]
    contents = {path: path.read_bytes() for path in files if path.is_file()}
    assert any(b"anna/secret-shapes" in text for text in contents.values())  # her job is there
    contents[deployed.log] = deployed.log.read_bytes()
    assert not [path for path, text in contents.items() for token in tokens if token in text]
    assert any(b"hf_sfda.space.worker" in line for line in anna.commands)
    assert not [line for line in anna.commands for token in tokens if token in line]
    # Her own browser keeps it where no script can read it.
    assert not [token for token in tokens if token.decode() in anna.page.content()]
    session = [c for c in anna.page.context.cookies(deployed.url) if c["name"] == "session"]
    assert [(cookie["httpOnly"], cookie["secure"]) for cookie in session] == [(True, True)]


def test_what_she_read_is_for_nobody_else(anna, stranger):
    assert set(names(anna.page, "#own-board"))
    stranger.reload()
    _wait_for_board(stranger)
    assert names(stranger, "#own-board") == []
    assert "sign in with Hugging Face" in refusal(stranger, HERS)


def test_compare_reads_with_her_token_and_only_for_her(anna, stranger, deployed):
    """The board is for all, and made up: whoever may read the data learns that it does not fit."""

    def told(page) -> str:
        page.goto(f"{deployed.url}?board={HERS}&tab=compare")
        _wait_for_board(page)
        page.click("#tab-compare button:has-text('Compare')")
        page.wait_for_selector("#comparison .trouble")
        return page.inner_text("#comparison .trouble")

    assert "sign in with Hugging Face" in told(stranger)
    hers = anna.page.context.new_page()
    assert "is no longer what was ranked" in told(hers)
    assert "sign in with Hugging Face" in told(stranger)


def test_after_signing_out_private_datasets_are_refused_again(visit):
    page = visit(on_the_hub="anna")
    sign_in(page)
    page.get_by_role("button", name="Sign out (anna)").click()
    page.get_by_role("button", name="Sign in with Hugging Face").wait_for()
    _wait_for_board(page)
    assert "sign in with Hugging Face" in refusal(page, HERS)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_sign_in_button_fits_on_the_page(anna, stranger, width):
    for page, words in ((stranger, "Sign in with Hugging Face"), (anna.page, "Sign out (anna)")):
        page.set_viewport_size({"width": width, "height": 900})
        button = page.get_by_role("button", name=words).bounding_box()
        title = page.locator(".top h1").bounding_box()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for box in (button, title):
            assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert lines_of_text(page.get_by_role("button", name=words)) == 1
        assert not overlap(button, title)
        # The button leaves the title room: at most two lines where the page is wide.
        assert lines_of_text(page.locator(".top h1")) <= (2 if width > 1000 else 3)


# -- programs


def test_programs_bring_their_token_in_a_header(deployed):
    from gradio_client import Client
    from gradio_client.exceptions import AppError

    hub, request = deployed.hub, {"dataset": HERS, "models": "acme/vit-a", "samples": 48}
    with pytest.raises(AppError, match=f"{HERS} is not on the Hub"):
        Client(deployed.behind, verbose=False).predict(**request, api_name="/rank")
    before = len(hub.requests)
    client = Client(deployed.behind, token=hub.account("anna"), verbose=False)
    document = client.predict(**request, api_name="/rank")
    assert [row["model_id"] for row in document["rows"]] == ["acme/vit-a"]
    hers = [request for request in hub.requests[before:] if HERS in request.path]
    assert {request.account for request in hers} == {"anna"}


# -- what to look at


def _tokens(space: SpaceServer, name: str) -> list[bytes]:
    """All tokens of somebody: their own, and those they lent to apps."""
    accounts = dict(space.hub.state.accounts)
    return [token.encode() for token, account in accounts.items() if account.name == name]


def _command_lines(server: int) -> set[bytes]:
    """Of all processes that the server has started."""
    import psutil

    found = set()
    for process in psutil.Process(server).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            found.add(" ".join(process.cmdline()).encode())
    return found
