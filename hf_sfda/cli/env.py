"""``hf-sfda env``: print the environment, for bug reports."""

from __future__ import annotations

import typer

from hf_sfda.cli._options import with_shared_options
from hf_sfda.cli._output import Output


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("env")(env)


@with_shared_options
def env(*, output: Output) -> None:
    """Print versions, devices and folders; no tokens."""
    import platform

    import torch
    from huggingface_hub import constants, get_token
    from rich.text import Text

    from hf_sfda.store import default_root
    from hf_sfda.versions import library_versions

    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **library_versions(),
        "cuda devices": str(torch.cuda.device_count()),
        "threads": str(torch.get_num_threads()),
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HOME": constants.HF_HOME,
        "HF_HUB_OFFLINE": str(constants.HF_HUB_OFFLINE),
        "features": str(default_root()),
        "logged in": "yes" if get_token() else "no",
    }
    lines = [f"{name:<16} {value}" for name, value in facts.items()]
    output.document(
        facts,
        human=lambda width: Text("\n".join(lines)),
        agent=lambda: "\n".join(f"{name}\t{value}" for name, value in facts.items()),
        quiet=lambda: facts["hf-sfda"],
    )
