"""A job on ZeroGPU, with the real ``spaces`` package and a CPU in place of the GPU.

``python -m tests.space.zero_gpu ROOT REQUEST [TOKEN_FILE]`` starts the service that lends GPUs,
lets ``spaces`` patch torch and fork as it does there, runs a job and prints what came of it
as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

LENT = {"idle": False, "nvidiaIndex": 0, "nvidiaUUID": "GPU-0", "allowToken": "token"}


class Service(BaseHTTPRequestHandler):
    """What ``spaces`` asks for a GPU, as far as it is asked."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(self.path)
        content = json.dumps(LENT).encode() if self.path.startswith("/schedule") else b""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


def force_on(root: Path) -> None:
    """The environment of a ZeroGPU Space; before ``spaces`` is imported."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cgroup = root / "cgroup"
    cgroup.write_text("0::/test\n")
    os.environ |= {
        "SPACES_ZERO_GPU": "true",
        "SPACES_ZERO_DEVICE_API_URL": f"http://127.0.0.1:{server.server_port}",
        "ZEROGPU_PROC_SELF_CGROUP_PATH": str(cgroup),
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }
    # `spaces` patches torch for CUDA, which a torch for CPUs alone does not bear; without torch it
    # lends its processes all the same.
    assert "torch" not in sys.modules
    sys.modules["torch"] = None  # type: ignore[assignment]
    import spaces.zero.wrappers

    assert spaces.config.Config.zero_gpu
    del sys.modules["torch"]


def main() -> None:
    """Run one job."""
    root, request = Path(sys.argv[1]), json.loads(sys.argv[2])
    token = Path(sys.argv[3]).read_text() if len(sys.argv) > 3 else None
    force_on(root)
    from hf_sfda.space.jobs import Jobs
    from hf_sfda.space.requests import RankRequest
    from hf_sfda.space.settings import Limits

    jobs = Jobs(Limits(seconds=200), root / "jobs")
    request = RankRequest(dataset=request["dataset"], models=tuple(request["models"]), samples=30)
    job = jobs.open(request, token)
    device = job.plan().device
    states = list(job.rank())
    last = states[-1]
    journal = (job.run_directory / "journal.jsonl").read_text() if last.ranking else ""
    events = [json.loads(line) for line in journal.splitlines()]
    out = {
        "device": device,
        "asked": Service.asked,
        "error": last.error,
        "states": sorted({(c.model, c.state) for state in states for c in state.candidates}),
        "rows": {row.model_id: [row.status, row.reason] for row in last.ranking.rows}
        if last.ranking
        else {},
        "cached": [event["cached"] for event in events if event["event"] == "extracted"],
    }
    jobs.close()
    print(json.dumps(out))


if __name__ == "__main__":
    main()
