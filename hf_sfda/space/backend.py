"""What the tabs and the API both ask for; knows hf_sfda, and nothing of gradio."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError, SfdaError, TargetError
from hf_sfda.finished import config_of, same_target
from hf_sfda.foreign import listing
from hf_sfda.hub import explain, hub_api, retry_read
from hf_sfda.report import sorted_by
from hf_sfda.space.requests import RankRequest
from hf_sfda.space.results import Results, Snapshot, board_name
from hf_sfda.types import Ranking, Target, Update

if TYPE_CHECKING:
    from pathlib import Path

    from hf_sfda.compare import Comparison
    from hf_sfda.ensemble import Ensemble
    from hf_sfda.publish.leaderboards import Leaderboard
    from hf_sfda.space.jobs import Jobs
    from hf_sfda.space.settings import Settings

_TARGETS_KEPT = 4


@dataclass(frozen=True)
class View:
    """A ranking that somebody looks at.

    Attributes:
        name: Of the board.
        ranking: Sorted by the metric they chose.
        board: Where it comes from; ``None`` for a visitor's own ranking.
        metrics: What it can be sorted by; the first one is what it was made with.
        commit: Of the results it was read from.
        folder: Where files made of it may lie, if it is somebody's own: they go when the job goes.
    """

    name: str
    ranking: Ranking
    board: Leaderboard | None
    metrics: tuple[str, ...]
    commit: str | None = None
    folder: Path | None = None


class Backend:
    """One per server.

    Args:
        settings: What the server was told.
        jobs: Read what only some visitors may read.
        folder: Where the last good results are kept.
    """

    def __init__(self, settings: Settings, jobs: Jobs, folder: Path | None = None) -> None:
        self.settings = settings
        self._jobs = jobs
        self.results = Results(
            settings.results,
            token=settings.results_token,
            folder=folder,
            max_age=settings.refresh,
        )
        self._targets: OrderedDict[str, Target] = OrderedDict()

    def boards(self) -> list[Leaderboard]:
        """All boards, ordered by name."""
        return list(self.results.snapshot().boards)

    def view(
        self,
        name: str | None = None,
        metric: str | None = None,
        *,
        snapshot: Snapshot | None = None,
    ) -> View | None:
        """A board sorted by a metric; the first board where the name is not known.

        Args:
            name: Of the board.
            metric: One it has; otherwise the one it was made with.
            snapshot: To look in; by default the newest.
        """
        snapshot = snapshot or self.results.snapshot()
        board = snapshot.board(name)
        if board is None:
            return None
        view = view_of(board.ranking(), board_name(board), metric, board=board)
        return replace(view, commit=snapshot.sha)

    def require_view(self, name: str | None, metric: str | None = None) -> View:
        """As :meth:`view`, but says what there is instead of choosing another.

        Raises:
            ConfigError: There is no such board, or no such metric on it.
        """
        snapshot = self.results.snapshot()
        names = [board_name(board) for board in snapshot.boards]
        if not names:
            raise ConfigError(snapshot.problem or f"{snapshot.repo.id} holds no results yet.")
        if name and name not in names:
            raise ConfigError(f"There is no board {name!r}. Boards: {listing(names)}.")
        view = self.view(name, snapshot=snapshot)
        assert view is not None
        if metric and metric not in view.metrics:
            raise ConfigError(
                f"{view.name} has no metric {metric!r}. Metrics: {listing(view.metrics, 40)}."
            )
        return view_of(view.ranking, view.name, metric, board=view.board)

    def updates(self, view: View) -> tuple[Update, ...]:
        """How the order of a board moved."""
        from hf_sfda.publish.leaderboards import history

        if view.board is None:
            return ()
        return history(self.results.snapshot().rows, view.board)

    def compare(
        self, view: View, first: str, second: str, *, top: int = 8, token: str | None = None
    ) -> tuple[Comparison, Target | None]:
        """Two models of a board on the same samples, by the metric of the view.

        The measurements are those that the leaderboard keeps; else they follow from features that
        are stored on this machine. Where the dataset cannot be read with the visitor's own
        rights, there are no classes and no samples.

        Returns:
            The comparison, and the samples if they could be read.

        Raises:
            SfdaError: There is no such model, or what it takes is not here.
        """
        from hf_sfda.compare import compare_for_ranking
        from hf_sfda.leaderboard.samples import compare_measured

        metric = view.ranking.metric
        original = view.board.ranking() if view.board else view.ranking
        target, unread = self._target(original, token)
        comparison = None
        if view.board is not None:
            comparison = compare_measured(
                self.results.api,
                self.results.repo,
                original,
                self.results.snapshot().rows,
                first,
                second,
                metric=metric,
                target=target,
                top=top,
            )
        if comparison is None:
            if target is None:
                raise unread or TargetError(f"{view.name} cannot be read.")
            comparison = compare_for_ranking(
                original, first, second, metric=metric, target=target, top=top
            )
        return comparison, target

    def ensemble(
        self,
        view: View,
        *,
        size: int = 3,
        criterion: str = "probability",
        token: str | None = None,
    ) -> Ensemble:
        """Models of a board that are better together, from features stored on this machine.

        Raises:
            SfdaError: The dataset cannot be read, or the features are not here.
        """
        from hf_sfda.ensemble import select_for_ranking

        original = view.board.ranking() if view.board else view.ranking
        target, unread = self._target(original, token)
        if target is None:
            raise unread or TargetError(f"{view.name} cannot be read.")
        return select_for_ranking(original, size=size, target=target, criterion=criterion)

    def _target(
        self, ranking: Ranking, token: str | None
    ) -> tuple[Target | None, SfdaError | None]:
        """The samples, read with the visitor's rights; what everybody here may read is kept."""
        key = str(ranking.dataset.get("fingerprint"))
        if key in self._targets:
            self._targets.move_to_end(key)
            return self._targets[key], None
        try:
            target = _read_here(ranking, self.settings.visitor_token)
        except SfdaError as error:
            if token is None or token == self.settings.visitor_token:
                return None, error
        else:
            self._targets[key] = target
            while len(self._targets) > _TARGETS_KEPT:
                self._targets.popitem(last=False)
            return target, None
        try:
            return self._read_apart(ranking, token), None
        except SfdaError as error:
            return None, error

    def _read_apart(self, ranking: Ranking, token: str) -> Target:
        """The samples, read by a process with caches of its own: none stays here for others."""
        dataset = config_of(ranking).dataset
        asked = RankRequest(dataset=dataset, samples=self.settings.limits.samples)
        job = self._jobs.open(asked, token)
        try:
            return job.sample(ranking)
        finally:
            job.discard()


def _read_here(ranking: Ranking, token: str | None) -> Target:
    """The samples, read by this process.

    What lies in a cache does not say who may read it, so the Hub is asked even so.
    """
    dataset = config_of(ranking).dataset
    if ranking.dataset.get("revision") is not None:  # else it is not from the Hub
        try:
            repo = dataset.partition(":")[0]
            retry_read(hub_api(token).auth_check, repo, repo_type="dataset")
        except Exception as error:
            raise TargetError(f"Dataset {dataset}: {explain(error)}.") from error
    return same_target(ranking, token=token)


def view_of(
    ranking: Ranking,
    name: str,
    metric: str | None = None,
    *,
    board: Leaderboard | None = None,
    folder: Path | None = None,
) -> View:
    """A ranking sorted by a metric that it has, or as it is."""
    others = dict.fromkeys(name for row in ranking.ranked for name in row.scores)
    metrics = tuple(dict.fromkeys([ranking.metric, *others]))
    if metric and metric in metrics and metric != ranking.metric:
        ranking = sorted_by(ranking, metric)
    return View(name=name, ranking=ranking, board=board, metrics=metrics, folder=folder)
