"""A collection of the best models of a run, in order, beside whatever else its owner put there."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hf_sfda.errors import PublishError
from hf_sfda.hub import retry_read
from hf_sfda.publish.access import Account, Repo, find_head, hub_errors, require_write
from hf_sfda.publish.boards import make_boards
from hf_sfda.publish.changes import Done, FileChange
from hf_sfda.publish.commit import MovedError
from hf_sfda.publish.rows import Run
from hf_sfda.report import format as text

if TYPE_CHECKING:
    from huggingface_hub import Collection, CollectionItem, HfApi

_MARK = "hf-sfda"
_LONGEST_TITLE = 60
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Item:
    """A model in the collection, with our note."""

    model: str
    note: str


@dataclass(frozen=True)
class CollectionUpdate:
    """What a collection will hold.

    Attributes:
        title: Finds it among the owner's.
        namespace: The owner.
        slug: Of the collection; ``None`` makes one.
        wanted: Our models, best first; they come before everything else.
        before: What it holds now: (model id, or type and id of anything else; note).
        private: Whether a collection that is made is private.
        gone: Models that would belong here and are no longer on the Hub.
    """

    title: str
    namespace: str
    slug: str | None
    wanted: tuple[Item, ...]
    before: tuple[tuple[str, str | None], ...]
    private: bool = False
    gone: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[FileChange, ...]:
        """None: a collection is no repository."""
        return ()

    def where(self) -> str:
        """For a plan."""
        made = "a new collection" if self.slug is None else "collection"
        gone = f" (no longer on the Hub: {', '.join(self.gone)})" if self.gone else ""
        return f"{made} {self.title!r} of {self.namespace}{gone}"

    def after(self) -> list[tuple[str, str | None]]:
        """What it will hold: the best first; of ours, those that fell out go; others stay."""
        best = {item.model for item in self.wanted}
        others = [(i, note) for i, note in self.before if i not in best and not _is_ours(note)]
        return [*((item.model, self._note(item)) for item in self.wanted), *others]

    def _note(self, item: Item) -> str:
        """A note that somebody else wrote stays."""
        theirs = dict(self.before).get(item.model)
        return theirs if theirs and not _is_ours(theirs) else item.note

    def diff(self) -> str:
        """Its items before and after."""

        def lines(items: list[tuple[str, str | None]]) -> list[str]:
            return [f"{name}  {note or ''}".rstrip() for name, note in items]

        name = f"collection {self.title}"
        old, new = lines(list(self.before)), lines(self.after())
        # All lines are shown: the order is part of what changes.
        diff = difflib.unified_diff(old, new, name, name, lineterm="", n=len(old) + len(new))
        return "\n".join(diff) + "\n"

    def carry_out(self, api: HfApi) -> Done:
        """Make it so, item by item; what is right already is left alone.

        Raises:
            MovedError: Somebody changed the collection after the plan was made.
            PublishError: The Hub refuses or fails; the same command finishes the rest.
        """
        with hub_errors(f"Cannot update collection {self.title!r}"):
            current = self._open(api)
            _add_missing(api, current, self.wanted)
            _remove_fallen(api, current, self.wanted)
            _put_in_order(api, current.slug, self.wanted)
        return Done(f"collection {self.title!r}", current.url)

    def _open(self, api: HfApi) -> Collection:
        if self.slug is None:
            if find(api, self.namespace, self.title) is not None:
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
    """What the top of a run changes in a collection; ``None`` if nothing.

    Raises:
        PublishError: The namespace is not ours, or the run ranked no model of the Hub.
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
        slug = find(api, namespace, title)
        before = _contents(retry_read(api.get_collection, slug)) if slug else ()
    update = CollectionUpdate(title, namespace, slug, wanted, before, private, gone)
    return None if slug and update.after() == list(before) else update


def find(api: HfApi, namespace: str, title: str) -> str | None:
    """The slug of the owner's collection of this title."""
    found = (c.slug for c in api.list_collections(owner=namespace) if c.title == title)
    return next(found, None)


def _items(api: HfApi, run: Run, top: int) -> tuple[tuple[Item, ...], tuple[str, ...]]:
    """The best models that are still there, and the better ones that are not."""
    (board,) = make_boards(run.rows)
    items: list[Item] = []
    gone: list[str] = []
    for entry in board.entries:
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
    """A dataset may have the same id as a model."""
    return item.item_id if item.item_type == "model" else f"{item.item_type} {item.item_id}"


def _add_missing(api: HfApi, current: Collection, wanted: tuple[Item, ...]) -> None:
    there = {_name(item): item for item in current.items}
    for item in wanted:
        known = there.get(item.model)
        if known is None:
            api.add_collection_item(
                current.slug, item.model, "model", note=item.note, exists_ok=True
            )
        elif known.note != item.note and (not known.note or _is_ours(known.note)):
            api.update_collection_item(current.slug, known.item_object_id, note=item.note)


def _remove_fallen(api: HfApi, current: Collection, wanted: tuple[Item, ...]) -> None:
    kept = {item.model for item in wanted}
    for item in current.items:
        if _name(item) not in kept and _is_ours(item.note):
            api.delete_collection_item(current.slug, item.item_object_id, missing_ok=True)


def _put_in_order(api: HfApi, slug: str, wanted: tuple[Item, ...]) -> None:
    items = list(retry_read(api.get_collection, slug).items)
    for position, item in enumerate(wanted):
        at = next(i for i, known in enumerate(items) if _name(known) == item.model)
        if at != position:
            api.update_collection_item(slug, items[at].item_object_id, position=position)
            items.insert(position, items.pop(at))
