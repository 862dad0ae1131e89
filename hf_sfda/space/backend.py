"""The functions that the tabs and the API share. They do not depend on gradio."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hf_sfda.errors import ConfigError, SfdaError, TargetError
from hf_sfda.foreign import listing
from hf_sfda.hub import explain, hub_api, retry_read
from hf_sfda.publish.leaderboards import to_ranking
from hf_sfda.ranking.runs import config_of, load_ranked_target
from hf_sfda.report import sorted_by
from hf_sfda.session import Session
from hf_sfda.space.jobs import LISTED
from hf_sfda.space.requests import RankRequest
from hf_sfda.space.results import Results, Snapshot, leaderboard_name
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
    """A ranking as a visitor sees it.

    Attributes:
        name: Name of the leaderboard.
        ranking: The ranking, sorted by the chosen metric.
        leaderboard: The leaderboard of the ranking; ``None`` for a visitor's own ranking.
        metrics: The metrics to sort by; the first one is the ranking's original metric.
        commit: The commit of the results dataset.
        folder: For a visitor's own ranking, the folder for its download files. It is removed with
            the visitor's job.
    """

    name: str
    ranking: Ranking
    leaderboard: Leaderboard | None
    metrics: tuple[str, ...]
    commit: str | None = None
    folder: Path | None = None

    @property
    def original(self) -> Ranking:
        """The ranking, sorted by its original metric if it is a leaderboard."""
        return to_ranking(self.leaderboard) if self.leaderboard else self.ranking


class Backend:
    """Answers the questions of the tabs and of the API. There is one per server.

    Args:
        settings: The settings of the server.
        jobs: Jobs that read datasets which only some visitors may read.
        folder: Folder for a copy of the results, which survives a restart of the server.
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

    def view(
        self,
        name: str | None = None,
        metric: str | None = None,
        *,
        snapshot: Snapshot | None = None,
    ) -> View | None:
        """A leaderboard sorted by a metric.

        Args:
            name: Name of the leaderboard; if there is none of this name, the first one is used.
            metric: Metric to sort by; if it is missing, the leaderboard's own metric is used.
            snapshot: The results to look in; by default the newest.

        Returns:
            The view, or ``None`` if there are no leaderboards.
        """
        snapshot = snapshot or self.results.snapshot()
        leaderboard = snapshot.leaderboard(name)
        if leaderboard is None:
            return None
        view = view_of(
            to_ranking(leaderboard), leaderboard_name(leaderboard), metric, leaderboard=leaderboard
        )
        return replace(view, commit=snapshot.sha)

    def require_view(self, name: str | None, metric: str | None = None) -> View:
        """Like :meth:`view`, but raises an error for an unknown name or metric.

        Raises:
            ConfigError: There is no such leaderboard, or it has no such metric. The message lists
                the allowed values.
        """
        snapshot = self.results.snapshot()
        names = [leaderboard_name(leaderboard) for leaderboard in snapshot.leaderboards]
        if not names:
            raise ConfigError(snapshot.problem or f"{snapshot.repo.id} holds no results yet.")
        if name and name not in names:
            raise ConfigError(f"There is no leaderboard {name!r}. Leaderboards: {listing(names)}.")
        view = self.view(name, snapshot=snapshot)
        assert view is not None
        if metric and metric not in view.metrics:
            raise ConfigError(
                f"{view.name} has no metric {metric!r}. Metrics: {listing(view.metrics, 40)}."
            )
        return view_of(view.ranking, view.name, metric, leaderboard=view.leaderboard)

    def updates(self, view: View) -> tuple[Update, ...]:
        """The places of a leaderboard's models after each update; empty for a visitor's ranking."""
        from hf_sfda.publish.leaderboards import history

        if view.leaderboard is None:
            return ()
        return history(self.results.snapshot().rows, view.leaderboard)

    def compare(
        self, view: View, first: str, second: str, *, token: str | None = None
    ) -> tuple[Comparison, Target | None]:
        """Compare two models of a leaderboard by the metric of the view.

        This uses the measurements in the leaderboard's repository, or else the features that are
        stored on this machine. If the visitor may not read the dataset, the comparison has no
        classes and no samples.

        Returns:
            The comparison, and the samples if the visitor may read them.

        Raises:
            SfdaError: There is no such model, or neither measurements nor features are available.
        """
        from hf_sfda.compare import compare_for_ranking
        from hf_sfda.leaderboard.samples import compare_measured

        metric, original = view.ranking.metric, view.original
        target, unread = None, None
        try:
            target = self._target(original, token)
        except SfdaError as error:
            unread = error
        comparison = None
        if view.leaderboard is not None:
            comparison = compare_measured(
                self.results.api,
                self.results.repo,
                original,
                self.results.snapshot().rows,
                first,
                second,
                metric=metric,
                target=target,
                top=LISTED,
            )
        if comparison is None:
            if unread is not None:  # without a target, it would be read with the server's own token
                raise unread
            comparison = compare_for_ranking(
                original, first, second, metric=metric, target=target, top=LISTED
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
        """Select an ensemble among the models of a ranking, from features stored on this machine.

        Raises:
            SfdaError: The dataset cannot be read, or the features are not stored here.
        """
        from hf_sfda.ensemble import select_for_ranking

        original = view.original
        target = self._target(original, token)
        return select_for_ranking(original, size=size, target=target, criterion=criterion)

    def _target(self, ranking: Ranking, token: str | None) -> Target:
        """Load the samples with the visitor's rights.

        Only samples that every visitor may read are cached in this process.

        Raises:
            SfdaError: The visitor may not read them, or they cannot be read.
        """
        key = str(ranking.dataset.get("fingerprint"))
        if key in self._targets:
            self._targets.move_to_end(key)
            return self._targets[key]
        try:
            target = _read_here(ranking, self.settings.visitor_token)
        except SfdaError:
            if token is None or token == self.settings.visitor_token:
                raise
            return self._read_in_job(ranking, token)
        self._targets[key] = target
        while len(self._targets) > _TARGETS_KEPT:
            self._targets.popitem(last=False)
        return target

    def _read_in_job(self, ranking: Ranking, token: str) -> Target:
        """Load the samples in a process with its own caches, so that no other visitor gets them."""
        dataset = config_of(ranking).dataset
        request = RankRequest(dataset=dataset, samples=self.settings.limits.samples)
        job = self._jobs.open(request, token)
        try:
            return job.sample(ranking)
        finally:
            job.discard()


def _read_here(ranking: Ranking, token: str | None) -> Target:
    """Load the samples in this process.

    The cache may hold a dataset that this token may not read. So the Hub is asked for permission
    first.
    """
    dataset = config_of(ranking).dataset
    if ranking.dataset.get("revision") is not None:  # a dataset of the Hub
        try:
            repo = dataset.partition(":")[0]
            retry_read(hub_api(token).auth_check, repo, repo_type="dataset")
        except Exception as error:
            raise TargetError(f"Dataset {dataset}: {explain(error)}.") from error
    return load_ranked_target(ranking, Session(token))


def view_of(
    ranking: Ranking,
    name: str,
    metric: str | None = None,
    *,
    leaderboard: Leaderboard | None = None,
    folder: Path | None = None,
) -> View:
    """The view of a ranking, sorted by ``metric`` if the ranking has this metric."""
    others = dict.fromkeys(name for row in ranking.ranked for name in row.scores)
    metrics = tuple(dict.fromkeys([ranking.metric, *others]))
    if metric and metric in metrics and metric != ranking.metric:
        ranking = sorted_by(ranking, metric)
    return View(name=name, ranking=ranking, leaderboard=leaderboard, metrics=metrics, folder=folder)
