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
    from hf_sfda.hub import access
    from hf_sfda.hub.access import Repo
    from hf_sfda.publish.cards import card_names, render_card
    from hf_sfda.publish.leaderboards import make_leaderboards
    from hf_sfda.publish.model_result import make_model_result
    from hf_sfda.publish.plan import load_run
    from hf_sfda.publish.results_dataset import CONFIGS

    here, access.hub_url = access.hub_url, lambda: HUB
    try:
        run, results = load_run(run_dir), Repo("me/results", "dataset")
        result = make_model_result(run, "me/resnet", results)
        values = {
            "results_dataset": {"repo": results.id, "configs": CONFIGS},
            "results_section": {
                "repo": results.id,
                "leaderboards": make_leaderboards(run.rows),
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
