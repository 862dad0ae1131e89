"""`hf-sfda space serve` on the command line: it says what is wrong, and goes when told to."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_sfda.errors import ConfigError
from tests.command import run_command
from tests.processes import with_default_signals
from tests.publishing import make_ranking, save_run
from tests.waiting import PATIENCE, until

HF_SFDA = Path(sys.executable).with_name("hf-sfda")
REPO = "me/results"
SERVE = ("space", "serve", "--results", REPO, "--port", "0")


def run(*arguments: str, env: dict[str, str], code: int = 2) -> str:
    """What a command that ends by itself says on stderr."""
    _, err = run_command(*arguments, env=env, code=code)
    assert "Traceback" not in err
    return " ".join(err.split())


@pytest.fixture
def results(hub, api) -> str:
    from hf_sfda.publish.rows import make_run

    made = make_run(make_ranking())
    hub.put(REPO, {made.path: made.parquet()}, repo_type="dataset")
    return REPO


class Served:
    """A server that was started, and what it has written."""

    def __init__(
        self, log: Path, *arguments: str, env: dict[str, str], ignore: int | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                with_default_signals([HF_SFDA, *arguments], ignore),
                env=env, stdout=file, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return self.log.read_text()

    def address(self) -> str:
        def started() -> re.Match[str] | None:
            ended = self.process.poll() is not None
            found = re.search(r"at (http://\S+) \(Ctrl-C", self.said)
            assert found or not ended, self.said
            return found

        return until(started, lambda: self.said)[1]


@pytest.fixture
def serve(hub_env, tmp_path) -> Iterator:
    started: list[Served] = []

    def start(*arguments: str, ignore: int | None = None, **variables: str) -> Served:
        log = tmp_path / f"log{len(started)}.txt"
        started.append(Served(log, *arguments, env={**hub_env, **variables}, ignore=ignore))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


# -- what stops it before it starts


def test_a_port_that_is_taken_is_named(results, hub_env):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        text = run("space", "serve", "--results", REPO, "--port", str(port), env=hub_env)
    assert text.startswith(f"Error: Cannot listen on 127.0.0.1, port {port}: ")
    assert text.endswith("Choose another with --port or --host.")


def test_an_address_of_somebody_else_is_refused(results, hub_env):
    assert "Cannot listen on 192.0.2.1, port 0" in run(*SERVE, "--host", "192.0.2.1", env=hub_env)


def test_a_port_that_is_none_is_refused(hub_env):
    assert "--port" in run("space", "serve", "--results", REPO, "--port", "70000", env=hub_env)


@pytest.mark.parametrize("given", ["results", "me/", "a/b/c", "./results", "models/me/results"])
def test_results_that_are_no_id_are_refused(hub_env, given):
    text = run("space", "serve", "--results", given, env=hub_env)
    assert (
        text == f"Error: --results is {given!r}; give a dataset as OWNER/NAME, such as me/results."
    )


def test_results_that_are_not_on_the_hub_are_refused(hub, hub_env):
    text = run(*SERVE, env=hub_env)
    assert text.startswith(f"Error: There is no dataset {REPO}, or no token that may read it.")
    assert f"hf-sfda publish RUN --to {REPO}" in text


def test_private_results_are_as_good_as_none_without_a_token(hub, results, hub_env):
    hub.set(REPO, repo_type="dataset", private=True)
    stranger = hub.account("stranger")
    text = run(*SERVE, env={**hub_env, "HF_TOKEN": stranger})
    assert f"There is no dataset {REPO}" in text
    assert "pass --token-file if it is private" in text
    assert stranger not in text


def test_as_me_without_a_token_is_refused(results, hub_env):
    env = {name: value for name, value in hub_env.items() if name != "HF_TOKEN"}
    text = run(*SERVE, "--as-me", env=env)
    assert text == (
        "Error: --as-me needs a token: set HF_TOKEN, pass --token-file, or run `hf auth login`."
    )


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HF_SFDA_MAX_SAMPLES", "many", "must be a whole number from 4 up, such as 2000"),
        ("HF_SFDA_MAX_SAMPLES", "3", "must be a whole number from 4 up"),
        ("HF_SFDA_QUEUE", "-1", "must be a whole number from 1 up"),
        ("HF_SFDA_REFRESH", "0", "it must be seconds, such as 60"),
    ],
)
def test_a_limit_that_is_no_limit_is_named(results, hub_env, name, value, message):
    text = run(*SERVE, env={**hub_env, name: value})
    assert text.startswith(f"Error: The variable {name} is {value!r}; ")
    assert message in text


BLOCKED = """
import sys
sys.modules["gradio"] = None  # as where it is not installed
from hf_sfda.cli import main
sys.argv = ["hf-sfda", *sys.argv[1:]]
main()
"""


def test_without_gradio_the_command_says_what_to_install(hub_env):
    command = [sys.executable, "-c", BLOCKED, *SERVE]
    done = subprocess.run(command, env=hub_env, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        'Error: The app needs gradio, which is not installed. Run: pip install "hf-sfda[space]"\n'
    )


@pytest.mark.parametrize("arguments", [["space", "--help"], ["space", "serve", "--help"]])
def test_help_loads_no_heavy_library(arguments):
    code = (
        "import sys\n"
        "from hf_sfda.cli import main\n"
        f"sys.argv = ['hf-sfda', *{arguments}]\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('gradio', 'torch', 'transformers', 'datasets', 'pandas', 'plotly', 'mcp')\n"
        "print('LOADED', [name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "LOADED []" in done.stdout
    assert "serve" in done.stdout


# -- what it does


# Each server takes ten seconds to start. In `make test` only test_api.py and test_browser.py do.


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_of_a_ranking_ends_the_server_and_leaves_nothing_behind(
    hub, results, serve, tmp_path, number
):
    """A caller waits for a ranking, its process waits for the Hub, and an upload lies there."""
    import httpx2
    import psutil

    client = pytest.importorskip("gradio_client")
    hub.faults.add(path_regex="me/slow", action="delay", seconds=PATIENCE, times=None)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    served = serve(*SERVE, TMPDIR=str(temporary), GRADIO_TEMP_DIR=str(temporary / "gradio"))
    url = served.address()
    assert url.startswith("http://127.0.0.1:")
    assert f"{REPO} at {url} (Ctrl-C ends it)" in served.said
    assert "with your token" not in served.said
    assert status(url) == 200
    assert status(url, Host="evil.example") == 200, "everybody may read public results"
    jobs = temporary / f"hf-sfda-space-{os.getuid()}"
    assert len([path for path in jobs.iterdir() if path.is_dir()]) == 1
    job = client.Client(url, token=False, verbose=False).submit(
        dataset="me/slow", models="acme/one", api_name="/rank"
    )
    upload = httpx2.post(f"{url}gradio_api/upload", files={"files": ("a.txt", b"private")})
    upload.raise_for_status()
    app = psutil.Process(served.process.pid)
    workers: list[psutil.Process] = []

    def ranks() -> bool:
        workers[:] = app.children(recursive=True)
        return any("hf_sfda.space.worker" in one.cmdline() for one in workers)

    until(ranks, lambda: served.said)
    assert list(temporary.rglob("a.txt"))
    served.process.send_signal(number)
    assert served.process.wait() == 0
    assert "Traceback" not in served.said
    _, alive = psutil.wait_procs(workers, timeout=PATIENCE)
    assert alive == []
    assert [path for path in temporary.rglob("*") if path.is_file()] == []
    assert [path for path in jobs.iterdir() if path.is_dir()] == []
    assert job.exception(timeout=PATIENCE) is not None
    port = int(url.rstrip("/").rpartition(":")[2])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "nobody listens any more"


@pytest.mark.slow
def test_as_me_warns_and_no_token_is_written_anywhere(hub, hub_env, tmp_path, serve):
    """Private results, shown with a token of one's own."""
    from hf_sfda.hub.plan import execute
    from hf_sfda.publish import plan_publication

    run_directory = save_run(tmp_path / "run")
    execute(plan_publication(run_directory, to=REPO, private=True))
    served = serve(*SERVE, "--as-me", "--allow-host", "board.example.org")
    url = served.address()
    assert "All visitors of this page read the Hub with your token." in served.said
    client = pytest.importorskip("gradio_client").Client(url, token=False, verbose=False)
    assert client.predict(api_name="/leaderboard")["board"] == "me/plants"
    # A page of a stranger whose name now resolves to this machine, and one that posts to it.
    for path in ("", "config", "gradio_api/info", "gradio_api/mcp/"):
        assert status(url + path, Host="evil.example") == 403, path
    assert status(url, Origin="http://evil.example") == 403
    assert status(url, Host="board.example.org", Origin="https://board.example.org") == 200
    assert status(url, Origin=url.rstrip("/")) == 200
    served.process.send_signal(signal.SIGINT)
    assert served.process.wait() == 0
    assert hub.token not in served.said
    written = [path for path in Path(hub_env["HF_HOME"]).rglob("*") if path.is_file()]
    assert any(path.parent.name == "hf-sfda-space" for path in written)
    assert not [path for path in written if hub.token.encode() in path.read_bytes()]


@pytest.mark.parametrize("private", [False, True])
def test_hosts_are_checked_for_private_results_without_as_me_too(
    hub, results, monkeypatch, private
):
    started = []

    def launch(settings, **_):
        started.append(settings)

    monkeypatch.setitem(sys.modules, "hf_sfda.space.app", SimpleNamespace(launch=launch))
    hub.set(REPO, repo_type="dataset", private=private)
    run_command(*SERVE, "--allow-host", "Board.example.org")
    (settings,) = started
    assert settings.results_token == hub.token
    assert settings.visitor_token is None
    if private:
        assert {"127.0.0.1", "board.example.org"} <= settings.hosts
    else:
        assert settings.hosts is None, "everybody may read public results"


@pytest.mark.slow
def test_private_results_are_kept_from_other_pages_and_an_ignored_signal_stays_ignored(
    hub, results, serve
):
    """Without ``--as-me``, too. A signal is ignored under ``nohup`` and in a shell's background."""
    hub.set(REPO, repo_type="dataset", private=True)
    served = serve(*SERVE, ignore=signal.SIGHUP)
    url = served.address()
    assert status(url) == 200
    assert status(url, Host="evil.example") == 403
    served.process.send_signal(signal.SIGHUP)
    assert status(url) == 200
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait() == 0


def test_a_host_that_is_no_name_is_refused(hub_env):
    text = run(*SERVE, "--allow-host", "http://board.example.org", env=hub_env)
    assert text.startswith("Error: --allow-host is 'http://board.example.org'; give a host name")


def status(url: str, **headers: str) -> int:
    """Of the answer to a request with these headers."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as it:
            return it.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_hub_that_is_down_does_not_stop_the_server(hub, monkeypatch):
    """The app has a copy of the results, and says what is wrong."""
    from hf_sfda.hub.access import Repo
    from hf_sfda.space.serve import _check_results

    monkeypatch.setattr("hf_sfda.hub.api.time", SimpleNamespace(sleep=lambda seconds: None))
    hub.stop()
    _check_results(Repo(REPO, "dataset"), hub.token)
    hub.start()
    with pytest.raises(ConfigError, match="There is no dataset me/results"):
        _check_results(Repo(REPO, "dataset"), hub.token)
