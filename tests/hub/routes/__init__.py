"""The endpoints, one file a subject. Importing this package registers them all."""

from tests.hub.routes import (
    account,
    collections,
    commit,
    discussions,
    files,
    jobs,
    leaderboard,
    listing,
    oauth,
    refs,
    repos,
    spaces,
    tree,
    webhooks,
)

__all__ = [
    "account",
    "collections",
    "commit",
    "discussions",
    "files",
    "jobs",
    "leaderboard",
    "listing",
    "oauth",
    "refs",
    "repos",
    "spaces",
    "tree",
    "webhooks",
]
