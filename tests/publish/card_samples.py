"""Renders every card; runs against whichever hf_sfda is first on the path.

``python card_samples.py RUN_DIR`` prints ``{name: text}`` as JSON. It imports nothing of the tests,
so that an installed wheel can be tried from outside the checkout.
"""

from __future__ import annotations

import json
import sys

HUB = "https://hub.example"


def render_all(run_dir: str) -> dict[str, str]:
    """Template name -> text, of the run in ``run_dir``."""
    from hf_sfda.finetune.export import Exported
    from hf_sfda.hub import access
    from hf_sfda.hub.access import Repo
    from hf_sfda.publish import features
    from hf_sfda.publish.cards import card_names, render_card
    from hf_sfda.publish.finetuned_model import card_values
    from hf_sfda.publish.leaderboards import make_leaderboards
    from hf_sfda.publish.model_result import make_model_result
    from hf_sfda.publish.plan import load_run
    from hf_sfda.publish.results_dataset import CONFIGS
    from hf_sfda.types import Finetuned, Measurement

    here, access.hub_url = access.hub_url, lambda: HUB
    try:
        run, results = load_run(run_dir), Repo("me/results", "dataset")
        result = make_model_result(run, "me/resnet", results)
        row = run.ranking.ranked[0]
        measurement = Measurement(
            model_id=row.model_id,
            revision=row.revision,
            value=0.83,
            interval=(0.745, 0.891),
            probe_value=0.78,
            learning_rate=3e-4,
            epoch=6,
            samples_trained=9000,
            seconds=50.0,
            device="cpu",
            per_sample=(1,) * 83 + (0,) * 17,
            versions={"hf-sfda": "0.1.0"},
        )
        finetuned = Finetuned(
            ranked="f" * 64,
            data={"test": "held out", "n_train": 300, "n_validation": 100, "n_test": 100},
            recipe={"learning_rates": [1e-4, 3e-4], "batch_size": 16, "label_smoothing": 0.1},
            measurements=(measurement, measurement),
        )
        exported = Exported("body and head", "class token", "image")
        values = {
            "finetuned_model": card_values(
                Repo("me/plants-vit"),
                run.ranking,
                row,
                finetuned,
                measurement,
                exported,
            ),
            "usage.txt": {
                "repo": "me/plants-vit",
                "saved": exported,
                "own_head": True,
                "head": "2_Dense",
                "measure": "accuracy",
            },
            "features_dataset": features.card_values(Repo("me/features", "dataset"), run.ranking),
            "results_dataset": {"repo": results.id, "configs": CONFIGS},
            "results_section": {
                "repo": results.id,
                "leaderboards": make_leaderboards(run.rows),
                "record": None,
                "finetuning": "",
                "hub": HUB,
            },
            "model_section": {"result": result},
            "pull_request": {"result": result, "results": results.id},
            "leaderboard.yaml": {
                "datasets": ["me/plants", "me/birds:large"],
                "models": [],
                "metric": "sfda_cv",
                "samples": 2000,
                "seed": 0,
                "top": 20,
                "max_params": None,
                "budget": {"candidates": 20, "params": None},
            },
            "space_section": {
                "repo": "me/board",
                "results": results.id,
                "hub": HUB,
                "version": "0.1.0",
            },
            "github_workflow.yaml": {
                "repo": results.id,
                "hub": HUB,
                "cron": "23 4 * * *",
                "requirement": "hf-sfda[timm]",
            },
        }
        return {name: render_card(name, **values[name]) for name in card_names()}
    finally:
        access.hub_url = here


if __name__ == "__main__":
    from hf_sfda.publish.cards import cards_directory

    json.dump({"": str(cards_directory()), **render_all(sys.argv[1])}, sys.stdout)
