"""The results dataset over HTTP: appended to by many, rewritten by nobody."""

from __future__ import annotations

import io
import json
import threading
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import DatasetCard

from hf_sfda.errors import PublishError
from hf_sfda.hub.commit import Commit
from hf_sfda.hub.plan import execute
from hf_sfda.publish import plan_publication
from hf_sfda.publish.leaderboards import make_leaderboards
from hf_sfda.publish.row_files import SCHEMA_VERSION
from hf_sfda.publish.rows import make_run, read_results, schema
from hf_sfda.types import ModelRow
from tests.publishing import SECRET, make_ranking, ok_row, save_run, sha_of

REPO = "me/results"
COMMIT = r"/api/datasets/me/results/commit/main"


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries happen, their pauses do not."""
    real = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: real(min(seconds, 0.01)))


@pytest.fixture
def run(tmp_path):
    return save_run(tmp_path / "run")


def publish(run, to=REPO, **options):
    plan = plan_publication(run, to=to, **options)
    return plan, execute(plan, options.get("token"))


def data_files(hub) -> dict[str, bytes]:
    return {p: c for p, c in hub.files(REPO, "dataset").items() if p.endswith(".parquet")}


def writes(hub) -> list[str]:
    return [f"{r.method} {r.path}" for r in hub.requests if r.method not in ("GET", "HEAD")]


def stored_rows(hub) -> list[dict]:
    tables = [pq.read_table(io.BytesIO(content)) for content in data_files(hub).values()]
    return pa.concat_tables(tables).to_pylist() if tables else []


# -- the plan


def test_the_plan_names_every_file_shows_the_diffs_and_writes_nothing(hub, run):
    plan = plan_publication(run, to=REPO)
    text = plan.render()
    digest = make_run(make_ranking()).digest
    assert f"new     data/me--plants/{digest}.parquet" in text
    assert "a new public repository" in text
    assert "+acme/vit\tok\tsfda_cv\t0.5800\t0.5600\t0.6000\t1" in text
    assert "+acme/nan\tfailed\tsfda_cv\t\t\t\t\tlayer.3.weight holds NaN" in text
    assert "+| 1 | [acme/vit](" in text
    assert [w for w in writes(hub) if "preupload" not in w] == []
    with pytest.raises(KeyError):
        hub.repo(REPO)


def test_what_is_carried_out_is_the_plan(hub, run):
    plan, done = publish(run)
    (step,) = plan.steps
    files = hub.files(REPO, "dataset")
    assert {path: files[path] for path in files if path != ".gitattributes"} == {
        file.path: file.after for file in step.files
    }
    (one,) = done
    assert one.commit == hub.repo(REPO).head.sha
    assert one.url.endswith(f"/datasets/{REPO}/commit/{one.commit}")
    events = [json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["published"]
    assert events[0]["commit"] == one.commit


def test_a_plan_has_a_name_that_changes_with_its_bytes(hub, tmp_path):
    first = save_run(tmp_path / "a")
    assert plan_publication(first, to=REPO).digest == plan_publication(first, to=REPO).digest
    other = save_run(tmp_path / "a", make_ranking({"acme/vit": 0.5801}))
    assert plan_publication(other, to=REPO).digest != plan_publication(first, to="me/r").digest


# -- the rows


def test_load_dataset_and_the_card_read_what_was_written(hub, run):
    from datasets import load_dataset

    publish(run)
    data = load_dataset(REPO, split="train")
    rows = {(row["model"], row["metric"]): row for row in data}
    assert data.column_names == schema().names
    assert len(data) == 11
    best = rows["acme/vit", "sfda_cv"]
    assert best["value"] == pytest.approx(0.58)
    assert (best["low"], best["high"]) == pytest.approx((0.56, 0.6))
    assert best["confidence"] == 0.95
    assert (best["rank"], best["tie_group"], best["rank_low"], best["rank_high"]) == (1, 1, 1, 2)
    assert (best["p_best"], best["noise_floor"]) == (0.5, 0.111)
    assert best["model_revision"] == sha_of("acme/vit")
    assert best["dataset_revision"] == "d" * 40
    assert (best["dataset"], best["dataset_split"], best["n"], best["seed"]) == (
        "me/plants",
        "train",
        1270,
        0,
    )
    assert (best["extractor"], best["view"], best["feature_dim"]) == ("timm", "all", 384)
    assert json.loads(best["versions"])["torch"] == "2.13.0"
    assert best["tool_version"] == "0.1.0"
    assert best["created_at"].isoformat() == "2026-11-20T10:00:00+00:00"
    assert best["config_fingerprint"] == make_ranking().config["fingerprint"]
    assert json.loads(best["config"])["resamples"] == 1000
    other = rows["acme/vit", "knn"]
    assert (other["value"], other["rank"], other["ranked_by"]) == (0.29, None, "sfda_cv")
    failed, skipped = rows["acme/nan", "sfda_cv"], rows["acme/big", "sfda_cv"]
    assert (failed["status"], failed["reason"]) == ("failed", "layer.3.weight holds NaN")
    assert (skipped["status"], skipped["value"], skipped["model_revision"]) == (
        "skipped",
        None,
        None,
    )
    card = DatasetCard.load(REPO)
    assert card.data.configs[0]["data_files"] == [{"split": "train", "path": "data/**/*.parquet"}]
    assert "leaderboard" in card.data.tags


def test_runs_with_and_without_values_in_a_column_load_as_one_table(hub, tmp_path):
    from datasets import load_dataset

    publish(save_run(tmp_path / "a"))
    nothing = (ModelRow("acme/x", None, "skipped", "no"),)
    publish(save_run(tmp_path / "b", make_ranking({}, dataset="me/birds", extra_rows=nothing)))
    assert len(load_dataset(REPO, split="train")) == 12


def test_no_paths_and_no_secrets_of_the_machine_are_published(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/bob")
    rows = (
        ok_row("/home/bob/secret-project/vit", 1, 0.4, revision="sha256:" + "a" * 64),
        ModelRow(
            "/home/bob/secret-project/bad",
            None,
            "failed",
            f"/home/bob/secret-project/bad/config.json: token {SECRET} in /home/bob/x",
        ),
    )
    ranking = make_ranking(
        {}, dataset="/home/bob/secret-project/photos", dataset_sha=None, extra_rows=rows, out="/o/p"
    )
    run = save_run(tmp_path / "run", ranking)
    plan, _ = publish(run)
    everything = plan.render() + json.dumps(plan.to_dict())
    everything += hub.files(REPO, "dataset")["README.md"].decode() + str(stored_rows(hub))
    for word in ("secret-project", "/home/bob", SECRET, "/o/p"):
        assert word not in everything.replace(str(run), "")
    found = {row["model"]: row for row in stored_rows(hub)}
    assert found["vit"]["model_source"] == "local"
    assert found["bad"]["reason"] == "bad/config.json: token <redacted> in ~/x"
    assert {row["dataset"] for row in found.values()} == {"photos"}


def test_numbers_that_are_none_are_null():
    run = make_run(make_ranking({"a/b": float("nan")}, extra_rows=()))
    assert run.rows[0]["value"] is None
    table = pq.read_table(io.BytesIO(run.parquet()))
    assert table.schema.equals(schema())
    assert table["value"][0].as_py() is None


# -- again, and beside others


def test_publishing_twice_changes_nothing_to_the_byte(hub, run):
    publish(run)
    head, files = hub.repo(REPO).head.sha, hub.files(REPO, "dataset")
    hub.requests.clear()
    plan, done = publish(run)
    assert (plan.steps, done) == ((), [])
    assert plan.up_to_date == ("dataset me/results holds this run already",)
    assert writes(hub) == []
    assert (hub.repo(REPO).head.sha, hub.files(REPO, "dataset")) == (head, files)


def test_appending_leaves_other_files_and_words_alone(hub, tmp_path):
    publish(save_run(tmp_path / "a"))
    before = hub.files(REPO, "dataset")
    mine = before["README.md"].replace(b"\n# results\n", b"\n# Our results\n\nRead *this* first.\n")
    hub.put(REPO, {"README.md": mine + b"\n## Thanks\n"}, repo_type="dataset")
    publish(save_run(tmp_path / "b", make_ranking(dataset="me/birds")))
    after = hub.files(REPO, "dataset")
    assert {path: after[path] for path in before if path != "README.md"} == {
        path: content for path, content in before.items() if path != "README.md"
    }
    assert len(data_files(hub)) == 2
    readme = after["README.md"].decode()
    assert "# Our results\n\nRead *this* first." in readme
    assert readme.endswith("\n## Thanks\n")
    assert readme.index("### me/birds") < readme.index("### me/plants")


def test_a_repository_made_by_hand_keeps_its_card(hub, run):
    card = "---\nlicense: cc-by-4.0 # ours\n---\n# Mine\n"
    hub.put(REPO, {"README.md": card, "leaderboard.yaml": "a: 1"}, repo_type="dataset")
    publish(run)
    readme = hub.files(REPO, "dataset")["README.md"].decode()
    assert readme.startswith("---\nlicense: cc-by-4.0 # ours\nconfigs:\n")
    assert "\n# Mine\n" in readme
    assert yaml.safe_load(readme.split("---")[1])["configs"][0]["config_name"] == "default"


@pytest.mark.slow
def test_ten_writers_at_once_lose_nothing(hub, tmp_path):
    hub.put(REPO, {"LICENSE": "x"}, repo_type="dataset")
    runs = [
        save_run(tmp_path / str(i), make_ranking({f"me/m{i}": 0.5}, extra_rows=()))
        for i in range(10)
    ]
    plans = [plan_publication(run, to=REPO) for run in runs]  # all on the same commit
    failures: list[Exception] = []

    def write(plan):
        try:
            execute(plan)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert {row["model"] for row in stored_rows(hub)} == {f"me/m{i}" for i in range(10)}
    readme = hub.files(REPO, "dataset")["README.md"].decode()
    assert all(f"me/m{i}]" in readme for i in range(10)), "the card knows all rows"
    assert readme.count("hf-sfda:begin results") == 1
    assert "10 runs with the same settings" in readme
    conflicts = [r for r in hub.seen("POST", COMMIT) if r.status == 412]
    assert conflicts, "they did get in each other's way"
    assert all(plan_publication(run, to=REPO).steps == () for run in runs)


def test_two_writers_of_the_same_run_write_it_once(hub, run):
    plans = [plan_publication(run, to=REPO), plan_publication(run, to=REPO)]
    first, second = (execute(plan)[0] for plan in plans)
    assert "already" in second.description
    assert hub.repo(REPO).head.sha == first.commit


def test_who_never_gets_a_turn_gives_up_and_says_so(hub, run, monkeypatch):
    publish(save_run(run.parent / "other", make_ranking({"me/a": 0.1})))
    plan = plan_publication(run, to=REPO)
    send = Commit.send

    def faster_than_us(step, api):
        hub.put(REPO, {"LICENSE": str(len(hub.repo(REPO).commits))}, repo_type="dataset")
        return send(step, api)

    monkeypatch.setattr(Commit, "send", faster_than_us)
    monkeypatch.setattr("hf_sfda.hub.commit._TRIES", 3)
    with pytest.raises(PublishError, match=r"changed 3 times .* Nothing was written there"):
        execute(plan)
    assert len(data_files(hub)) == 1


# -- leaderboards


def test_only_what_is_comparable_stands_in_one_table():
    def rows(*rankings):
        return [row for ranking in rankings for row in make_run(ranking).rows]

    old = make_ranking({"a/a": 0.5, "b/b": 0.4}, created_at="2026-01-01T00:00:00+00:00")
    new = make_ranking({"b/b": 0.6, "c/c": 0.3}, created_at="2026-02-01T00:00:00+00:00")
    (board,) = make_leaderboards(rows(new, old))
    assert [(e.place, e.row["model"], e.row["value"]) for e in board.entries] == [
        ("1", "b/b", 0.6),
        ("2", "a/a", 0.5),
        ("3", "c/c", 0.3),
    ]
    assert (board.n_runs, board.n_earlier) == (2, 0)
    assert [row["model"] for row in board.left_out] == ["acme/nan", "acme/big"]
    other = make_ranking({"a/a": 0.9}, created_at="2026-03-01T00:00:00+00:00", seed=1)
    (board,) = make_leaderboards(rows(new, other, old))
    assert [e.row["model"] for e in board.entries] == ["a/a"]
    assert board.n_earlier == 2
    assert board.settings["seed"] == 1
    moved = make_ranking({"a/a": 0.9}, created_at="2026-04-01T00:00:00+00:00", dataset_sha="c" * 40)
    assert make_leaderboards(rows(old, moved))[0].n_earlier == 1
    assert len(make_leaderboards(rows(old, make_ranking(dataset="me/x")))) == 2


def test_ties_are_shown_as_spans_and_a_later_failure_replaces_a_score():
    tied = tuple(ok_row(f"a/{i}", i, 0.6 - i / 100, tie_group=1 + (i > 3)) for i in range(1, 5))
    (board,) = make_leaderboards(make_run(make_ranking({}, extra_rows=tied)).rows)
    assert [entry.place for entry in board.entries] == ["1-3", "1-3", "1-3", "4"]
    failed = make_ranking(
        {}, extra_rows=(ModelRow("a/1", "x", "failed", "gone"),), created_at="2027-01-01"
    )
    rows = [*make_run(make_ranking({}, extra_rows=tied)).rows, *make_run(failed).rows]
    (board,) = make_leaderboards(rows)
    assert [entry.row["model"] for entry in board.entries] == ["a/2", "a/3", "a/4"]
    assert [row["model"] for row in board.left_out] == ["a/1"]


# -- bad input


def other_table(**metadata: str) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"x": [1]}).replace_schema_metadata(metadata or None)
    pq.write_table(table, sink)
    return sink.getvalue()


def test_a_newer_schema_is_refused_and_nothing_written(hub, run, tmp_path):
    publish(run)
    newer = other_table(**{"hf_sfda.schema_version": str(SCHEMA_VERSION + 1)})
    hub.put(REPO, {"data/me--plants/ffffffffffffffff.parquet": newer}, repo_type="dataset")
    head = hub.repo(REPO).head
    with pytest.raises(PublishError, match=r"ffff\.parquet of me/results has schema version 4"):
        publish(save_run(tmp_path / "b", make_ranking(dataset="me/birds")))
    assert hub.repo(REPO).head is head


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"data/train-00000-of-00001.parquet": other_table()},
            "is not a results dataset: it holds",
        ),
        ({"train.csv": "a,b"}, "is not a results dataset: it holds train.csv"),
        ({"data/x/0123456789abcdef.parquet": other_table()}, "was not written by hf-sfda"),
        ({"data/x/0123456789abcdef.parquet": b"PAR1"}, "cannot be read as parquet"),
        (
            {"data/x/0123456789abcdef.parquet": other_table(**{"hf_sfda.schema_version": "1"})},
            "does not have the columns of schema version 1",
        ),
        ({"README.md": "---\nconfigs:\n- data_files: x.csv\n---\n"}, "sets `configs`"),
        ({"README.md": "---\na: [\n---\n# Hi\n"}, "is not valid YAML"),
    ],
)
def test_other_peoples_data_and_broken_cards_are_left_alone(hub, run, files, message):
    hub.put(REPO, files, repo_type="dataset")
    before = hub.files(REPO, "dataset")
    with pytest.raises(PublishError, match=message):
        publish(run)
    assert hub.files(REPO, "dataset") == before


def test_a_torn_file_is_told_from_one_of_ours(tmp_path):
    path = tmp_path / "x.parquet"
    path.write_bytes(make_run(make_ranking()).parquet()[:-20])
    with pytest.raises(PublishError, match=r"x\.parquet cannot be read"):
        read_results(path, "x.parquet")


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("acme/results", "belongs to acme, and you are me"),
        ("results", "OWNER/NAME"),
        ("me/results/x", "OWNER/NAME"),
    ],
)
def test_publishing_to_a_place_of_others_is_refused(hub, run, to, message):
    with pytest.raises(PublishError, match=message):
        publish(run, to=to)


def test_an_organisation_of_ours_is_ours(hub, run):
    token = hub.account("ann", orgs=("lab",))
    publish(run, to="lab/results", token=token)
    assert hub.repo("lab/results").head.author == "ann"


@pytest.mark.parametrize("exists", [False, True])
def test_a_token_that_may_only_read_is_refused(hub, run, exists):
    if exists:
        hub.put(REPO, {"LICENSE": "x"}, repo_type="dataset")
    with pytest.raises(PublishError, match="token of me may only read"):
        publish(run, token=hub.read_token)
    assert writes(hub) == []


def test_the_hub_decides_who_may_write(hub, run):
    hub.put(REPO, {"LICENSE": "x"}, repo_type="dataset")
    hub.faults.add(path_regex="auth-check/write", status=403, times=None)
    with pytest.raises(PublishError, match=r"Cannot write to dataset me/results: .*403"):
        publish(run)


def test_a_wrong_token_and_a_missing_one_are_refused(hub, run, monkeypatch):
    wrong = "hf_" + "wrong" * 6
    with pytest.raises(PublishError, match="token is valid") as caught:
        publish(run, token=wrong)
    assert wrong not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(PublishError, match="not logged in"):
        publish(run)


def test_a_plan_is_not_carried_out_by_another_account(hub, run):
    plan = plan_publication(run, to=REPO)
    with pytest.raises(PublishError, match="made by me, but this token is ann's"):
        execute(plan, hub.account("ann"))
    assert writes(hub) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read .*runs/NAME"),
        ("{", "is not a ranking"),
        ('{"schema_version": 99}', "schema version 99"),
        ('{"schema_version": 1}', "is not a ranking"),
        (json.dumps(make_ranking({}, extra_rows=()).to_dict()), "no candidates"),
    ],
)
def test_a_run_directory_without_a_ranking_is_refused(hub, tmp_path, content, message):
    if content is not None:
        (tmp_path / "ranking.json").write_text(content)
    with pytest.raises(PublishError, match=message):
        publish(tmp_path)


# -- a Hub that fails


@pytest.mark.parametrize("action", ["status", "drop"])
def test_a_failed_commit_leaves_nothing_and_is_repeated(hub, run, action):
    hub.faults.add(path_regex=COMMIT, method="POST", action=action, times=1)
    with pytest.raises(PublishError, match=r"Step 1 of 1; done before it: nothing\. The same"):
        publish(run)
    assert data_files(hub) == {}
    assert "README.md" not in hub.files(REPO, "dataset")
    last = json.loads((run / "journal.jsonl").read_text().splitlines()[-1])
    assert last["event"] == "publishing failed"
    publish(run)
    assert len(stored_rows(hub)) == 11


def test_a_lost_answer_is_not_taken_for_a_failure(hub, run):
    hub.faults.add(path_regex=COMMIT, method="POST", action="lose", times=1)
    _, (done,) = publish(run)
    assert done.commit == hub.repo(REPO).head.sha
    assert len(hub.seen("POST", COMMIT)) == 1, "asked for once"


@pytest.mark.parametrize(
    "where", ["/api/whoami-v2", "/api/datasets/me/results$", "/tree/", "/resolve/", "/preupload/"]
)
def test_passing_failures_are_got_over(hub, run, tmp_path, where):
    publish(run)
    hub.faults.add(path_regex=where, status=503, times=1)
    publish(save_run(tmp_path / "b", make_ranking(dataset="me/birds")))
    assert len(data_files(hub)) == 2


def test_a_hub_that_is_down_is_named(hub, run):
    hub.stop()
    with pytest.raises(PublishError, match="cannot be reached"):
        publish(run)


def test_a_results_dataset_is_private_if_asked_for(hub, run):
    plan, _ = publish(run, private=True)
    assert "a new private repository" in plan.render()
    assert hub.repo(REPO).private


def test_what_is_private_does_not_become_public_without_a_word(hub, run):
    hub.put("me/plants", {"x.csv": "a"}, repo_type="dataset", private=True)
    hub.put("me/noise", {"README.md": "x"}, private=True)
    hub.put("me/resnet", {"README.md": "x"})
    plan = plan_publication(run, to=REPO)
    assert [warning.split(" is private")[0] for warning in plan.warnings] == [
        "dataset me/plants",
        "model me/noise",
    ]
    assert "--private" in plan.warnings[0]
    assert plan_publication(run, to=REPO, private=True).warnings == ()
    execute(plan_publication(run, to=REPO, private=True))
    save_run(run, make_ranking(created_at="2026-11-21"))
    assert plan_publication(run, to=REPO).warnings == (), "the dataset there is private"


def test_writers_who_all_make_the_repository_lose_nothing(hub, tmp_path):
    runs = [
        save_run(tmp_path / str(i), make_ranking({f"me/m{i}": 0.5}, extra_rows=()))
        for i in range(4)
    ]
    plans = [plan_publication(run, to=REPO) for run in runs]
    threads = [threading.Thread(target=execute, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {row["model"] for row in stored_rows(hub)} == {f"me/m{i}" for i in range(4)}


def test_a_plan_lists_the_files_once(hub, run):
    publish(run)
    hub.requests.clear()
    plan_publication(run, to=REPO)
    listings = [r.path for r in hub.requests if f"datasets/{REPO}/tree/" in r.path]
    assert len(listings) <= 2, "once by us, and once by the client that downloads"
