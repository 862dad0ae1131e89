"""A Hub collection of the best models of a run. Other items of the collection stay."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_sfda import format as text
from hf_sfda.errors import PublishError
from hf_sfda.hub import retry_read
from hf_sfda.hub.access import Account, Repo, find_head, hub_errors, require_write
from hf_sfda.hub.changes import StepResult
from hf_sfda.hub.commit import MovedError
from hf_sfda.hub.plan import Step
from hf_sfda.publish.leaderboards import make_leaderboards
from hf_sfda.publish.rows import Run

if TYPE_CHECKING:
    from huggingface_hub import Collection, CollectionItem, HfApi

_MARK = "hf-sfda"
_LONGEST_TITLE = 60
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Item:
    """A model in the collection, with the note that we write."""

    model: str
    note: str


@dataclass(frozen=True)
class CollectionUpdate(Step):
    """A change of a collection.

    Attributes:
        title: The title, which identifies the collection among those of its owner.
        namespace: The owner.
        slug: The collection's id; ``None`` creates a collection.
        wanted: Our models, best first; they come before all other items.
        before: The items now, each as (name, note). The name is a model id, or the type and the id
            of another kind of item.
        private: Whether a new collection is private.
        gone: Models that would be in ``wanted`` but are no longer on the Hub.
    """

    title: str
    namespace: str
    slug: str | None
    wanted: tuple[Item, ...]
    before: tuple[tuple[str, str | None], ...]
    private: bool = False
    gone: tuple[str, ...] = ()

    def where(self) -> str:
        """The collection and its owner, as one line of a plan."""
        kind = "a new collection" if self.slug is None else "collection"
        gone = f" (no longer on the Hub: {', '.join(self.gone)})" if self.gone else ""
        return f"{kind} {self.title!r} of {self.namespace}{gone}"

    def after(self) -> list[tuple[str, str | None]]:
        """The items after the change.

        The wanted models come first. Items that others added stay. Models that we added earlier
        and that are no longer wanted are removed.
        """
        best = {item.model for item in self.wanted}
        others = [(i, note) for i, note in self.before if i not in best and not _is_ours(note)]
        return [*((item.model, self._note(item)) for item in self.wanted), *others]

    def _note(self, item: Item) -> str:
        """The note of an item: our note, unless somebody else wrote one, which stays."""
        theirs = dict(self.before).get(item.model)
        return theirs if theirs and not _is_ours(theirs) else item.note

    def diff(self) -> str:
        """The items before and after, as a unified diff."""

        def lines(items: list[tuple[str, str | None]]) -> list[str]:
            return [f"{name}  {note or ''}".rstrip() for name, note in items]

        name = f"collection {self.title}"
        old, new = lines(list(self.before)), lines(self.after())
        # Show all lines as context, because the order is part of the change.
        diff = difflib.unified_diff(old, new, name, name, lineterm="", n=len(old) + len(new))
        return "\n".join(diff) + "\n"

    def execute(self, api: HfApi) -> StepResult:
        """Update the collection item by item; do not touch items that are right already.

        Raises:
            MovedError: Somebody changed the collection after the plan was made.
            PublishError: The Hub refuses or fails; the same command finishes the rest.
        """
        with hub_errors(f"Cannot update collection {self.title!r}"):
            current = self._open(api)
            _add_missing(api, current, self.wanted)
            _remove_unwanted(api, current, self.wanted)
            _put_in_order(api, current.slug, self.wanted)
        return StepResult(f"collection {self.title!r}", current.url)

    def _open(self, api: HfApi) -> Collection:
        if self.slug is None:
            if find_slug(api, self.namespace, self.title) is not None:
                raise self._moved()
            return api.create_collection(
                self.title, namespace=self.namespace, private=self.private, exists_ok=False
            )
        current = retry_read(api.get_collection, self.slug)
        if _contents(current) != self.before:
            raise self._moved()
        return current

    def _moved(self) -> MovedError:
        return MovedError(
            f"Collection {self.title!r} was changed by somebody else after the plan was made. "
            "Nothing was written there; run the same command to see the new plan."
        )


def plan_collection(
    api: HfApi, me: Account, run: Run, title: str, *, namespace: str, top: int, private: bool
) -> CollectionUpdate | None:
    """Plan the collection of the ``top`` best models of a run; ``None`` if it is up to date.

    Raises:
        PublishError: The title is empty or too long, the namespace is not ours, or the run ranked
            no model that is on the Hub.
    """
    if not 1 <= len(title) <= _LONGEST_TITLE:
        raise PublishError(
            f"The collection's title has {len(title)} characters; 1 to {_LONGEST_TITLE} are "
            "allowed. Choose another one with --collection."
        )
    if namespace not in me.namespaces:
        raise PublishError(f"Collections of {namespace} are not yours; you are {me.name}.")
    require_write(api, me, Repo(f"{namespace}/-"), exists=False)
    wanted, gone = _items(api, run, top)
    if not wanted:
        raise PublishError("None of the ranked models is on the Hub: nothing to collect.")
    with hub_errors(f"Cannot read collection {title!r}"):
        slug = find_slug(api, namespace, title)
        before = _contents(retry_read(api.get_collection, slug)) if slug else ()
    update = CollectionUpdate(title, namespace, slug, wanted, before, private, gone)
    return None if slug and update.after() == list(before) else update


def find_slug(api: HfApi, namespace: str, title: str) -> str | None:
    """The id of the owner's collection with this title, or ``None``."""
    slugs = (c.slug for c in api.list_collections(owner=namespace) if c.title == title)
    return next(slugs, None)


def _items(api: HfApi, run: Run, top: int) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The best models that are on the Hub, and the models above them that are not."""
    (leaderboard,) = make_leaderboards(run.rows)
    items: list[Item] = []
    gone: list[str] = []
    for entry in leaderboard.entries:
        if len(items) == top:
            break
        if entry.row["model_source"] != "hub":
            continue
        model = entry.row["model"]
        if find_head(api, Repo(model)) is None:
            gone.append(model)
        else:
            items.append(Item(model, _note(entry.place, entry.row)))
    return tuple(items), tuple(gone)


def _note(place: str, row: Mapping[str, Any]) -> str:
    score = f"{row['metric']} {text.score(row['value'])}"
    if row["low"] is not None:
        score += f" ({text.interval((row['low'], row['high']))})"
    return f"{_MARK} #{place}: {score} on {row['dataset']}"[:_LONGEST_NOTE]


def _is_ours(note: str | None) -> bool:
    return bool(note) and str(note).startswith(f"{_MARK} #")


def _contents(collection: Collection) -> tuple[tuple[str, str | None], ...]:
    return tuple((_name(item), item.note) for item in collection.items)


def _name(item: CollectionItem) -> str:
    """The model id, or type and id of any other item: a dataset may have the id of a model."""
    return item.item_id if item.item_type == "model" else f"{item.item_type} {item.item_id}"


def _add_missing(api: HfApi, current: Collection, wanted: tuple[Item, ...]) -> None:
    existing_items = {_name(item): item for item in current.items}
    for item in wanted:
        existing = existing_items.get(item.model)
        if existing is None:
            api.add_collection_item(
                current.slug, item.model, "model", note=item.note, exists_ok=True
            )
        elif existing.note != item.note and (not existing.note or _is_ours(existing.note)):
            api.update_collection_item(current.slug, existing.item_object_id, note=item.note)


def _remove_unwanted(api: HfApi, current: Collection, wanted: tuple[Item, ...]) -> None:
    """Remove the models that we added earlier and that are no longer wanted."""
    models = {item.model for item in wanted}
    for item in current.items:
        if _name(item) not in models and _is_ours(item.note):
            api.delete_collection_item(current.slug, item.item_object_id, missing_ok=True)


def _put_in_order(api: HfApi, slug: str, wanted: tuple[Item, ...]) -> None:
    items = list(retry_read(api.get_collection, slug).items)
    for position, item in enumerate(wanted):
        now = next(i for i, other in enumerate(items) if _name(other) == item.model)
        if now != position:
            api.update_collection_item(slug, items[now].item_object_id, position=position)
            items.insert(position, items.pop(now))
