"""Failures that the test Hub injects, as the real clients meet them.

The client's waits are recorded instead of waited for.
"""

from __future__ import annotations

import time
from pathlib import Path

import httpx2
import pytest
from huggingface_hub import CommitOperationAdd, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import close_session, get_session

from hf_sfda.errors import ExtractionError
from hf_sfda.hub import download_model, explain
from hf_sfda.types import Candidate
from tests.hub.server import HubServer

DATA = bytes(range(256)) * 4000  # about 1 MB


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The client's waits, not waited for."""
    waits: list[float] = []
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", waits.append)
    return waits


@pytest.mark.parametrize("status", [429, 503])
def test_listings_are_retried(hub: HubServer, naps: list[float], status: int) -> None:
    hub.put("me/model", {"config.json": "{}"})
    fault = hub.faults.add(method="GET", path_regex="^/api/models$", status=status, times=2)
    assert [m.id for m in HfApi().list_models()] == ["me/model"]
    assert fault.hits == 2
    assert [r.status for r in hub.requests] == [status, status, 200]
    # The RateLimit header says "0 s", to which the client adds one; without it the wait doubles.
    assert naps == ([1.0, 1.0] if status == 429 else [1.0, 2.0])


def test_an_own_rate_limit_header_is_sent(hub: HubServer, naps: list[float]) -> None:
    hub.faults.add(status=429, headers={"RateLimit": '"api";r=0;t=7'})
    list(HfApi().list_models())
    assert naps == [8.0]


def test_model_info_is_not_retried_by_the_client(hub: HubServer) -> None:
    """So whoever reads must."""
    hub.put("me/model", {"config.json": "{}"})
    hub.faults.add(path_regex="/api/models/me/model", status=503)
    with pytest.raises(HfHubHTTPError, match="503"):
        HfApi().model_info("me/model")
    assert HfApi().model_info("me/model").id == "me/model"


def test_a_cut_download_resumes_where_it_broke(
    hub: HubServer, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The client keeps whole chunks only, of 10 MB by default.
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    hub.put("me/model", {"big.bin": DATA})
    fault = hub.faults.add(method="GET", path_regex="big.bin$", action="cut")
    assert Path(hf_hub_download("me/model", "big.bin")).read_bytes() == DATA
    assert fault.hits == 1
    assert [r.status for r in hub.seen("GET", "big.bin$")] == [200, 206]


def test_a_download_that_is_always_cut_fails_at_last(hub: HubServer, naps: list[float]) -> None:
    hub.put("me/model", {"big.bin": b"x"})  # half of one byte: no progress at all
    fault = hub.faults.add(method="GET", path_regex="big.bin$", action="cut", times=None)
    with pytest.raises(httpx2.RemoteProtocolError):
        hf_hub_download("me/model", "big.bin")
    assert fault.hits > 1


def test_dropped_connections_are_retried_in_listings_only(
    hub: HubServer, naps: list[float]
) -> None:
    hub.put("me/model", {"config.json": "{}"})
    hub.faults.add(action="drop", times=3)
    assert len(list(HfApi().list_models())) == 1
    assert [r.status for r in hub.requests] == [0, 0, 0, 200]
    hub.faults.add(action="drop")
    with pytest.raises(httpx2.RemoteProtocolError):
        HfApi().model_info("me/model")


def test_a_commit_whose_answer_is_lost_has_happened(hub: HubServer) -> None:
    hub.put("me/model", {"a.txt": "one"})
    hub.faults.add(method="POST", path_regex="/commit/", action="lose")
    operations = [CommitOperationAdd("a.txt", b"two")]
    with pytest.raises(httpx2.RemoteProtocolError):
        HfApi().create_commit("me/model", operations, commit_message="Change")
    assert hub.files("me/model")["a.txt"] == b"two"


def test_a_slow_answer_times_out_or_is_waited_for(hub: HubServer) -> None:
    hub.put("me/model", {"config.json": "{}"})
    hub.faults.add(path_regex="/api/models/", action="delay", seconds=0.5, times=2)
    with pytest.raises(httpx2.TimeoutException):
        HfApi().model_info("me/model", timeout=0.05)
    start = time.monotonic()
    assert HfApi().model_info("me/model", timeout=60).id == "me/model"
    assert time.monotonic() - start >= 0.5


def test_a_stopped_hub_refuses_and_comes_back_on_its_port(hub: HubServer) -> None:
    hub.put("me/model", {"config.json": "{}"})
    api, url = HfApi(), hub.url
    assert api.model_info("me/model").id == "me/model"  # leaves a connection open
    hub.stop()
    with pytest.raises(httpx2.TransportError):
        api.model_info("me/model")
    with pytest.raises(httpx2.ConnectError):
        api.model_info("me/model")
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download("me/model")
    hub.start()
    assert hub.url == url
    assert api.model_info("me/model").id == "me/model"


def test_faults_choose_their_requests(hub: HubServer) -> None:
    hub.put("me/model", {"a.txt": "a"})
    url = f"{hub.url}/me/model/resolve/main/a.txt"
    fault = hub.faults.add(method="GET", path_regex="a.txt$", status=500, skip=1, times=2)
    assert get_session().head(url).status_code == 200
    assert [get_session().get(url).status_code for _ in range(4)] == [200, 500, 500, 200]
    assert fault.hits == 2
    hub.faults.add(status=500, times=None)
    hub.faults.clear()
    assert get_session().get(url).status_code == 200
    with pytest.raises(ValueError, match="Unknown action 'explode'; allowed: status, cut"):
        hub.faults.add(action="explode")


def test_connections_are_kept_alive(hub: HubServer) -> None:
    hub.put("me/model", {"a.txt": "a"})
    close_session()
    server = hub._server
    assert server is not None
    before = set(server.sockets)
    for _ in range(5):
        HfApi().model_info("me/model")
    assert len(set(server.sockets) - before) == 1
    assert not any("hub-test-token" in str(r) for r in hub.requests)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"[" * 100_000, "nested too deeply"), (b'[{"id": "acme/v', "not JSON")],
)
def test_a_download_whose_listing_cannot_be_read_is_a_failed_model(
    hub: HubServer, naps: list[float], content: bytes, reason: str
) -> None:
    hub.put("me/model", {"config.json": "{}", "model.safetensors": DATA})
    candidate = Candidate("me/model", revision=hub.repo("me/model", "model").head.sha)
    hub.faults.add(path_regex="^/api/", action="replace", content=content, times=None)
    with pytest.raises(ExtractionError, match=reason) as caught:
        download_model(candidate)
    assert "Error" not in str(caught.value)


def test_deep_nesting_is_said_in_plain_words() -> None:
    assert explain(RecursionError("maximum recursion depth exceeded")) == (
        "what was read is nested too deeply"
    )
