"""Visitors' jobs against the test Hub.

Importing torch takes a new process seconds. So most steps run in this process, and three tests use
real ones: a token stays with its job, a job is killed, a server dies.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from hf_sfda.errors import ConfigError, JobError
from hf_sfda.space.child import environment
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.plan import check_time
from hf_sfda.space.requests import RankRequest
from hf_sfda.space.settings import Limits
from tests import factories
from tests.space.in_process import InProcess
from tests.space.test_events import PLAN
from tests.waiting import PATIENCE, until

SECRET = "a secret of the server that no job may know"


@pytest.fixture
def jobs(hub, tmp_path, monkeypatch):
    """A server that is logged in: its token is in force, and nobody's but its own."""
    assert os.environ["HF_TOKEN"] == hub.token
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SERVER_PASSWORD", SECRET)
    jobs = Jobs(Limits(seconds=int(PATIENCE)), tmp_path / "jobs")
    yield jobs
    jobs.close()
    assert not list((tmp_path / "jobs").iterdir())


@pytest.fixture
def _steps_in_process(monkeypatch):
    monkeypatch.setattr("hf_sfda.space.jobs.Child", InProcess)


in_process = pytest.mark.usefixtures("_steps_in_process")


@pytest.fixture
def zoo(hub, tmp_path):
    card = {"pipeline_tag": "image-classification", "library_name": "transformers"}
    for downloads, name in enumerate(["two", "one"]):
        folder = factories.tiny_vit(tmp_path / "zoo" / name, seed=downloads)
        factories.write_card(folder, **card)
        hub.put(f"acme/{name}", folder, downloads=downloads)
    return hub


def push_shapes(name: str, **options: object) -> None:
    data = factories.image_dataset(n_per_class=12, classes=3)
    data.push_to_hub(name, split="train", **options)


def upload(path: Path) -> Path:
    folder = factories.image_folder(path.with_suffix(""), n_per_class=8, classes=["star", "disc"])
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.rglob("*.png"):
            archive.write(file, f"shapes/{file.relative_to(folder)}")
    return path


def everything_in(folder: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def group_of(pid: int) -> list[int]:
    """All living processes of a group."""
    members = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and is_alive(int(entry.name)):
            try:
                if os.getpgid(int(entry.name)) == pid:
                    members.append(int(entry.name))
            except ProcessLookupError:
                continue
    return members


def watch(job, states: list, until=lambda state: False):
    """Rank; the processes it had, as /proc showed them."""
    seen: dict[int, tuple[bytes, bytes]] = {}
    for state in job.rank():
        states.append(state)
        child = job._child
        if child is not None and child.pid not in seen and is_alive(child.pid):
            place = Path(f"/proc/{child.pid}")
            seen[child.pid] = ((place / "cmdline").read_bytes(), (place / "environ").read_bytes())
        if until(state):
            break
    return seen


@in_process
def test_a_hub_dataset_is_planned_and_ranked(zoo, jobs):
    push_shapes("me/shapes")
    zoo.requests.clear()
    job = jobs.open(RankRequest(dataset="me/shapes", models=("acme/one", "acme/gone", "acme/two")))
    assert stat_mode(job.directory) == 0o700
    plan = job.plan()
    assert (plan.n_samples, len(plan.class_names), plan.modality) == (36, 3, "image")
    assert [model.skip is None for model in plan.models] == [True, False, True]
    assert plan.models[0].params
    assert plan.download_bytes == sum(model.download_bytes or 0 for model in plan.models) > 0
    assert 0 < plan.seconds[0] < plan.seconds[1] < 120
    assert not [r for r in zoo.requests if r.method == "GET" and r.path.endswith(".safetensors")]

    states = list(job.rank())
    last = states[-1]
    assert (last.stage, last.error, last.cancelled) == ("done", None, False)
    assert [c.state for c in last.candidates] == ["done", "failed", "done"]
    assert [row.model_id for row in last.ranking.ranked] != []
    assert {row.model_id for row in last.ranking.rows} == {"acme/one", "acme/two", "acme/gone"}
    assert last.ranking.dataset["id"] == "me/shapes"
    assert last.log[0].startswith("Target   me/shapes")
    assert [s.seconds for s in states] == sorted(s.seconds for s in states)
    saved = json.loads((job.run_directory / "ranking.json").read_text())
    assert saved == last.ranking.to_dict()
    assert (job.run_directory / "report.html").stat().st_size > 0
    assert job.command.startswith("hf-sfda rank --dataset me/shapes --models acme/one")

    assert not any(request.with_token for request in zoo.requests), "the server's token was used"

    again = jobs.open(job.request).plan()  # while the first job's directory is still there
    assert again.download_bytes == 0, "anonymous jobs share the server's cache"
    job.discard()
    assert not job.directory.exists()


@in_process
def test_tags_of_words_are_ranked(hub, jobs, tmp_path):
    from datasets import Dataset

    sentences = [f"the {word} of old" for word in ("ship", "bread", "wave", "soup") * 8]
    tags = [["O", "SEA" if i % 2 == 0 else "FOOD", "O", "O"] for i in range(len(sentences))]
    data = Dataset.from_dict({"tokens": [text.split() for text in sentences], "ner_tags": tags})
    data.push_to_hub("me/words", split="train")
    for seed, name in enumerate(["one", "two"]):
        hub.put(f"acme/{name}", factories.tiny_bert(tmp_path / name, seed=seed))
    job = jobs.open(RankRequest(dataset="me/words", models=("acme/one", "acme/two")))
    plan = job.plan()
    assert plan.modality == "text" and "one word of each sentence" in plan.labels
    *_, last = job.rank()
    assert last.error is None and len(last.ranking.ranked) == 2
    assert last.ranking.dataset["task"] == "text-token-classification"


def stat_mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_private_data_is_for_its_owner_alone(zoo, jobs):
    push_shapes("me/private", private=True)
    zoo.set("acme/two", private=True)
    token = zoo.read_token
    request = RankRequest(dataset="me/private", models=("acme/one", "acme/two"))
    owner = jobs.open(request, token)
    assert owner.plan().n_samples == 36
    states: list = []
    processes = watch(owner, states)
    assert states[-1].error is None
    assert [row.status for row in states[-1].ranking.rows] == ["ok", "failed"], "not theirs"
    assert {"starting", "models"} <= {state.stage for state in states}, "others may be too short"

    ((command, env),) = processes.values()
    assert command.split(b"\0")[1:-1] == [b"-m", b"hf_sfda.space.worker", b"rank"]
    assert token.encode() not in command
    assert f"HF_TOKEN={token}".encode() in env
    assert zoo.token.encode() not in env
    assert SECRET.encode() not in env
    assert token.encode() not in everything_in(owner.directory)
    assert token not in repr(states) + repr(owner) + repr(vars(owner)["request"])
    assert token not in owner.stderr_tail
    home = Path(os.environ["HF_HOME"])
    assert not list(home.rglob("*private*")), "nothing private in the cache that all share"
    assert not list(home.rglob("features/**/*.safetensors"))

    # The owner's job is still there, cache and all; the server itself could read the dataset.
    with pytest.raises(JobError, match=r"me/private is not on the Hub .* or private") as caught:
        jobs.open(request).plan()
    assert "server" not in str(caught.value)
    with pytest.raises(JobError, match="me/private"):
        jobs.open(request, zoo.account("stranger")).plan()


@pytest.mark.slow
def test_an_upload_is_ranked_and_leaves_nothing_in_the_shared_cache(zoo, jobs, tmp_path):
    file = upload(tmp_path / "my shapes.zip")
    job = jobs.open(RankRequest(upload=file, top=2, samples=16))
    plan = job.plan()
    assert (plan.dataset, plan.class_names) == ("my-shapes", ("disc", "star"))
    assert [model.model for model in plan.models] == ["acme/one", "acme/two"], "by downloads"
    *_, last = job.rank()
    assert last.error is None
    assert last.ranking.dataset["id"] == "my-shapes"
    assert len(last.ranking.ranked) == 2
    assert str(tmp_path) not in (job.run_directory / "ranking.json").read_text()
    assert "--dataset ./my-shapes/ " in job.command
    assert " --top 2" in job.command
    home = Path(os.environ["HF_HOME"])
    assert not list(home.rglob("features/**/*.safetensors"))
    assert list(home.rglob("models--acme--one"))
    directory = job.directory
    jobs.close()
    assert not directory.exists()


@in_process
def test_a_bad_upload_is_refused_in_the_plan(jobs, tmp_path):
    file = tmp_path / "evil.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../evil.png", b"\x89PNG")
    job = jobs.open(RankRequest(upload=file))
    with pytest.raises(JobError, match="leads outside it"):
        job.plan()
    assert not list((job.directory / "work").iterdir())


@pytest.mark.slow
def test_a_process_that_dies_runs_late_or_is_cancelled_ends_its_job(zoo, jobs):
    push_shapes("me/shapes")
    zoo.requests.clear()
    job = jobs.open(RankRequest(dataset="me/shapes", models=("acme/one",)))
    job.plan()

    for _ in (states := job.rank()):  # the kernel ends it, as when memory runs out
        if job._child is not None and is_alive(job._child.pid) and job.busy:
            env = Path(f"/proc/{job._child.pid}/environ").read_bytes()
            os.kill(job._child.pid, signal.SIGKILL)
            break
    *_, last = states
    assert last.stage == "failed"
    assert "memory ran out" in last.error
    assert zoo.token.encode() not in env
    assert SECRET.encode() not in env
    assert b"HF_HUB_DISABLE_IMPLICIT_TOKEN=1" in env

    # The Hub keeps the next job waiting for longer than it takes to end it.
    zoo.faults.add(
        path_regex="acme/one/resolve/.*safetensors", action="delay", seconds=PATIENCE, times=None
    )
    jobs.limits = Limits(seconds=1)
    *_, last = job.rank()
    assert "Stopped after 1 second, the most a job may take here" in last.error
    assert not group_of(job._child.pid)
    assert last.seconds < PATIENCE

    jobs.limits = Limits(seconds=int(PATIENCE))
    canceller, took = None, []

    def cancel() -> None:
        start = time.monotonic()
        job.cancel()
        took.append(time.monotonic() - start)

    for state in job.rank():
        if canceller is None and state.candidates and state.candidates[0].state == "downloading":
            canceller = threading.Thread(target=cancel)
            canceller.start()
    assert canceller is not None
    canceller.join()
    assert not any(request.with_token for request in zoo.requests), "the server's token was used"
    assert state.cancelled
    assert (state.stage, state.error, state.ranking) == ("cancelled", None, None)
    assert took[0] < PATIENCE
    assert not group_of(job._child.pid)
    *_, last = job.rank()
    assert last.cancelled, "a cancelled job stays so"
    with pytest.raises(JobError, match="job is over"):
        job.plan()
    job.discard()
    job.discard()
    assert not job.directory.exists()


@pytest.mark.slow
def test_whoever_leaves_ends_their_job_and_the_next_one_runs(zoo, jobs):
    push_shapes("me/shapes")
    request = RankRequest(dataset="me/shapes", models=("acme/one",))
    first, second = jobs.open(request), jobs.open(request)
    first.plan()
    second.plan()
    leaving = first.rank()
    for _ in leaving:
        if first._child is not None and is_alive(first._child.pid) and jobs.ranking._value == 0:
            break
    waiting = second.rank()
    seen = [next(waiting).stage for _ in range(3)]
    assert seen[-1] == "queued", "one ranking at a time"
    pid = first._child.pid
    leaving.close()
    assert first.cancelled
    assert not group_of(pid)
    assert any(state.stage == "starting" for state in waiting), "its turn has come"
    waiting.close()
    assert jobs.sweep(older_than=3600) == 0
    assert second.directory.exists()
    assert jobs.sweep(older_than=0) == 2
    assert not first.directory.exists()
    assert not second.directory.exists()


@in_process
def test_limits_are_named_where_they_are_met(zoo, jobs):
    push_shapes("me/shapes")
    jobs.limits = Limits(seconds=int(PATIENCE), download_bytes=1000)
    with pytest.raises(JobError, match=r"me/shapes has .* of data files; .* 1 kB in all"):
        jobs.open(RankRequest(dataset="me/shapes", models=("acme/one",))).plan()
    size = sum(len(c) for name, c in zoo.files("me/shapes").items() if name.endswith(".parquet"))
    jobs.limits = Limits(seconds=int(PATIENCE), download_bytes=size + 40_000, params=5_000)
    with pytest.raises(JobError, match=r"acme/one: too large: .* at most 5 k"):
        jobs.open(RankRequest(dataset="me/shapes", models=("acme/one",))).plan()
    jobs.limits = Limits(seconds=int(PATIENCE), download_bytes=size + 40_000)
    plan = jobs.open(RankRequest(dataset="me/shapes", models=("acme/one", "acme/two"))).plan()
    assert [model.skip is None for model in plan.models] == [True, False]
    assert "a job may download" in str(plan.models[1].skip)
    with pytest.raises(ConfigError, match="13 models"):
        jobs.open(RankRequest(dataset="a/b", models=tuple(f"a/{i}" for i in range(13))))
    with pytest.raises(JobError, match=r"about 2 to 6 minutes.*may take 90 seconds"):
        check_time(PLAN, Limits(seconds=90))


@in_process
@pytest.mark.parametrize("name", ["/etc/passwd", "..", "../x", "~", "work", "./work", "home/hub"])
def test_a_path_is_never_a_dataset_or_a_model(hub, jobs, name, tmp_path):
    if name in ("work", "home/hub"):  # may be ids on the Hub, and are directories of the job
        job = jobs.open(RankRequest(dataset=name))
        with pytest.raises(JobError, match="is not on the Hub"):
            job.plan()
        return
    for request in (RankRequest(dataset=name), RankRequest(dataset="a/b", models=(name,))):
        with pytest.raises(ConfigError, match="not a Hub id"):
            jobs.open(request)
    assert not list((jobs._home).iterdir())


_SERVER = """
import sys, threading
from pathlib import Path
from hf_sfda.space.jobs import Jobs
from hf_sfda.space.settings import Limits
from hf_sfda.space.requests import RankRequest

jobs = Jobs(Limits(), Path(sys.argv[1]))
job = jobs.open(RankRequest(dataset="me/slow", models=("acme/one",)))
threading.Thread(target=job.plan, daemon=True).start()
while job._child is None:
    pass
print(job._child.pid, job.directory, flush=True)
threading.Event().wait()
"""


def test_what_a_dead_server_leaves_ends_and_is_removed(hub, hub_env, tmp_path):
    hub.faults.add(path_regex="me/slow", action="delay", seconds=PATIENCE, times=None)
    root = tmp_path / "jobs"
    server = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(root)], env=hub_env, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    pid, directory = server.stdout.readline().split()
    living = Jobs(Limits(), root)
    assert Path(directory).exists(), "its server lives"
    living.close()
    assert is_alive(int(pid))
    server.kill()
    server.wait()
    until(lambda: not is_alive(int(pid)), "a job ends with its server")
    assert Path(directory).exists()
    Jobs(Limits(), root).close()
    assert not list(root.iterdir())


def test_a_process_knows_what_is_on_the_list_and_no_more(tmp_path):
    base = {
        "PATH": "/bin", "HF_TOKEN": "hf_server", "OAUTH_CLIENT_SECRET": "x", "MY_KEY": "y",
        "HF_HOME": "/cache", "HF_ENDPOINT": "http://127.0.0.1:1", "OMP_NUM_THREADS": "2",
        "SPACES_ZERO_GPU": "1", "PYTHONPATH": "/code",
    }  # fmt: skip
    nobody = environment(tmp_path, None, private=False, base=base)
    assert not {"HF_TOKEN", "OAUTH_CLIENT_SECRET", "MY_KEY", "SPACES_ZERO_GPU"} & nobody.keys()
    assert nobody["HF_HOME"] == "/cache"
    assert nobody["HF_HUB_DISABLE_IMPLICIT_TOKEN"] == "1"
    assert not Path(nobody["HF_TOKEN_PATH"]).exists()
    assert nobody["PYTHONPATH"].endswith(":/code")
    assert (nobody["HF_ENDPOINT"], nobody["OMP_NUM_THREADS"]) == ("http://127.0.0.1:1", "2")

    someone = environment(tmp_path, "hf_theirs", private=False, base=base)
    assert someone["HF_TOKEN"] == "hf_theirs"
    own = ("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ASSETS_CACHE", "HF_XET_CACHE")
    assert all(someone[name].startswith(str(tmp_path)) for name in own)

    uploader = environment(tmp_path, None, private=True, base=base)
    assert uploader["HF_HOME"] == "/cache"
    assert uploader["HF_DATASETS_CACHE"].startswith(str(tmp_path))
    assert uploader["HF_ASSETS_CACHE"].startswith(str(tmp_path))


_LOADED = """
import sys
from hf_sfda.space import worker

worker.main()
heavy = [name for name in ("torch", "transformers", "gradio") if name in sys.modules]
print(heavy, file=sys.stderr)
"""


def test_a_plan_loads_neither_torch_nor_transformers(zoo, hub_env, tmp_path):
    from hf_sfda.space.worker import WorkerInput

    push_shapes("me/shapes")
    (tmp_path / "job" / "work").mkdir(parents=True)
    request = RankRequest(dataset="me/shapes", models=("acme/one",))
    work = WorkerInput(request, Limits(), tmp_path / "job", None, None, print)
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, "plan"], input=json.dumps(work.message()) + "\n",
        env=hub_env, cwd=tmp_path / "job" / "work", capture_output=True, text=True,
    )  # fmt: skip
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "planned", done.stderr
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.returncode == 0, "by hand, the end of stdin ends nothing"
