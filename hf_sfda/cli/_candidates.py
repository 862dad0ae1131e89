"""Options that choose among the checkpoints of the Hub."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hf_sfda.cli._options import parse_count
from hf_sfda.config import Choice


def _option(flag: str, help_: str, **more: Any) -> Any:
    return typer.Option(
        flag, help=help_, show_default=False, rich_help_panel="Which candidates", **more
    )


def _size(flag: str, help_: str) -> Any:
    return _option(flag, help_, parser=parse_count, metavar="NUMBER")


def _texts(flag: str, help_: str) -> Any:
    return _option(flag, help_, metavar="TEXT,...")


ChoiceOption = Annotated[
    Choice,
    typer.Option(
        "--candidates",
        help="The most downloaded, different ones first, or all that pass the filters.",
        rich_help_panel="Which candidates",
    ),
]
PipelineTagOption = Annotated[
    str | None, _texts("--pipeline-tag", "Tasks on the Hub, instead of those that fit the dataset.")
]
LibraryOption = Annotated[str | None, _texts("--library", "Only transformers, or only timm.")]
LicenseOption = Annotated[
    str | None, _texts("--license", "Licences; `permissive` is a group of those that ask little.")
]
AuthorOption = Annotated[str | None, _texts("--author", "Only by these users or organisations.")]
CollectionOption = Annotated[
    str | None, _option("--collection", "Slug of a collection; its models are the candidates.")
]
LanguageOption = Annotated[str | None, _texts("--language", "Languages that the card names.")]
CreatedAfterOption = Annotated[
    str | None, _option("--created-after", "Leave out older ones: 2024-06-30.", metavar="DATE")
]
MinDownloadsOption = Annotated[
    int | None, _option("--min-downloads", "Least downloads in the last 30 days.")
]
SearchOption = Annotated[str | None, _option("--search", "Only ids that hold this text.")]
ExcludeOption = Annotated[
    str | None, _texts("--exclude", "Leave out ids, or patterns such as `acme/*`.")
]
MinParamsOption = Annotated[int | None, _size("--min-params", "Leave out smaller models.")]
MaxParamsOption = Annotated[
    int | None, _size("--max-params", "Leave out larger models: 300M, 7B, 1000000.")
]
TrainedOnOption = Annotated[str | None, _texts("--trained-on", "Datasets that the card names.")]
BaseModelOption = Annotated[
    str | None, _texts("--base-model", "Only models that were made from these.")
]
