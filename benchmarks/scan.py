"""What a scan of many repositories costs: calls, seconds, memory.

`python -m benchmarks.scan [NUMBER]`: the test Hub with 10,000 models in a process of its own, with
pages of at most 1,000 entries, and each scan in a fresh process. The seconds are those of both
processes on one machine; the Hub's own time and the network's come on top.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from typing import Any

NUMBER = 10_000
SCANS: dict[str, dict[str, Any]] = {
    "popular (default)": {},
    "popular, permissive": {"license": ("permissive",)},
    "popular, a licence that 1 in 1,000 has": {"license": ("rare", "rarer")},
    "diverse": {"candidates": "diverse"},
    "diverse, permissive": {"candidates": "diverse", "license": ("permissive",)},
    "all": {"candidates": "all"},
    "all, one author": {"candidates": "all", "author": ("org7",)},
}
LICENCES = ("mit", "apache-2.0", "cc-by-nc-4.0", "gemma", "other")


def fill(hub: Any, number: int) -> None:
    """Models of fifty owners, every tenth of them pickled, in a few sizes."""
    from tests.factories import safetensors_bytes

    weights = [safetensors_bytes(size) for size in (1_000, 4_000, 16_000)]
    config = b'{"model_type": "vit", "architectures": ["ViTForImageClassification"]}'
    for n in range(number):
        licence = "rare" if n % 1_000 == 999 else LICENCES[n % len(LICENCES)]
        files: dict[str, bytes | str] = {
            "README.md": f"---\nlicense: {licence}\ndatasets: [set{n % 7}]\n---\n",
            "config.json": config,
            "preprocessor_config.json": b"{}",
            "pytorch_model.bin" if n % 10 == 5 else "model.safetensors": weights[n % 3][:-4]
            + n.to_bytes(4, "little"),
        }
        hub.put(f"org{n % 50}/model-{n:05d}", files, downloads=2 * number - n)


def serve(number: int, pipe: Connection) -> None:
    """Serve the Hub; answer each message with the number of requests since the last one."""
    from tests.hub.server import HubServer

    with HubServer() as hub:
        fill(hub, number)
        pipe.send(hub.url)
        while pipe.recv():
            pipe.send(len(hub.requests))
            hub.requests.clear()


def scan(options: dict[str, Any], pipe: Connection) -> None:
    """One scan: candidates to run, entries looked at, seconds, MB more than before."""
    from huggingface_hub import HfApi

    from hf_sfda.config import CandidateOptions
    from hf_sfda.scan import scan_candidates

    list(HfApi().list_models(limit=1, search="nothing"))  # imports and the connection
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    result = scan_candidates((), CandidateOptions(**options), modality="image")
    seconds = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    usable = sum(candidate.skip is None for candidate in result.candidates)
    pipe.send((usable, result.listed, seconds, memory))


def main() -> None:
    """Print a table in Markdown."""
    from tests.hub.server import hub_variables

    number = int(sys.argv[1]) if len(sys.argv) > 1 else NUMBER
    context = mp.get_context("spawn")
    pipe, theirs = context.Pipe()
    server = context.Process(target=serve, args=(number, theirs), daemon=True)
    server.start()
    url = pipe.recv()
    print(f"{number:,} models\n")
    print("| scan | candidates | looked at | calls | seconds | MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(hub_variables(url, home))
        for name, options in SCANS.items():
            mine, its = context.Pipe()
            process = context.Process(target=scan, args=(options, its))
            process.start()
            usable, listed, seconds, memory = mine.recv()
            process.join()
            pipe.send(True)
            calls = pipe.recv() - 1  # the one that made the connection
            print(f"| {name} | {usable:,} | {listed:,} | {calls} | {seconds:.1f} | {memory:.0f} |")
    pipe.send(False)


if __name__ == "__main__":
    main()
