"""Reading a sample of a very large dataset in parts: bytes that the server sends, time, memory.

`python -m benchmarks.partial` makes a dataset of 1,000,000 small images in parquet files with row
groups of 100, serves it by the Hub of the tests in another process, reads a sample of 2,000 rows
from it, and prints what the server sent. The files are in a temporary folder and are deleted.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

FILES = 10
READ = """
import json, resource, sys, time
import numpy, pyarrow.dataset, PIL.Image, datasets.packaged_modules.parquet.parquet
from hf_sfda import load_target
from hf_sfda.dataset import remote

remote.LARGE = 10_000_000
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before, start = peak(), time.perf_counter()
target = load_target("me/pictures", samples=int(sys.argv[1]))
print(json.dumps({
    "rows": [int(name.rpartition("/")[2]) for name in target.sample_ids],
    "seconds": time.perf_counter() - start, "memory": peak(), "imports": before,
    "note": next(text for text in target.warnings if "weighs" in text),
}))
"""


def picture(row: int, size: int) -> bytes:
    """The PNG file of a row: noise, so that it does not compress."""
    from PIL import Image

    pixels = np.random.default_rng(row).integers(0, 256, (size, size, 3), np.uint8)
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG", compress_level=0)
    return sink.getvalue()


def write(folder: Path, rows: int, classes: int, size: int) -> None:
    """Write the parquet files, as ``datasets`` does."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from datasets import ClassLabel, Features, Image

    names = [f"class {i}" for i in range(classes)]
    schema = Features({"image": Image(), "label": ClassLabel(names=names)}).arrow_schema
    labels = np.random.default_rng(0).integers(0, classes, rows)
    # 1,000 different images, each with the number of its row after its end, which readers ignore
    images = [picture(i, size) for i in range(1000)]
    for number in range(FILES):
        path = folder / f"train-{number:05d}-of-{FILES:05d}.parquet"
        # As with photographs: images do not compress, and as they have more than 4 kB, pyarrow does
        # not store the smallest and the largest of a row group.
        options = {"compression": "none", "write_statistics": ["label"]}
        with pq.ParquetWriter(path, schema, **options) as writer:
            for start in range(number * rows // FILES, (number + 1) * rows // FILES, 100):
                part = range(start, min(start + 100, (number + 1) * rows // FILES))
                content = [
                    {"bytes": images[row % 1000] + row.to_bytes(8, "big"), "path": None}
                    for row in part
                ]
                columns = {"image": content, "label": labels[part.start : part.stop]}
                writer.write_table(pa.table(columns, schema=schema), row_group_size=100)


def serve(folder: str) -> None:
    """Serve the files until the standard input ends; then print what was sent."""
    from tests.hub.server import HubServer

    with HubServer() as hub:
        hub.put("me/pictures", Path(folder), repo_type="dataset")
        print(hub.url, flush=True)
        sys.stdin.read()
        data = [r for r in hub.requests if r.method == "GET" and r.path.endswith(".parquet")]
        facts = {
            "sent": sum(r.sent for r in data), "requests": len(data), "all": len(hub.requests)
        }  # fmt: skip
        print(json.dumps(facts), flush=True)


def main() -> None:
    """Make the dataset, read it in another process, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--pixels", type=int, default=10, help="width of the images")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    from tests.hub.server import hub_variables

    with tempfile.TemporaryDirectory() as base:
        folder, home = Path(base) / "files", Path(base) / "home"
        folder.mkdir()
        write(folder, options.rows, options.classes, options.pixels)
        weight = sum(path.stat().st_size for path in folder.iterdir())
        command = [sys.executable, "-m", "benchmarks.partial", "--serve", str(folder)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, **pipes) as server:
            assert server.stdin and server.stdout
            url = server.stdout.readline().strip()
            env = os.environ | hub_variables(url, home)
            reads = []
            for _ in range(2):
                done = subprocess.run(
                    [sys.executable, "-c", READ, str(options.samples)],
                    env=env, capture_output=True, text=True, check=False,
                )  # fmt: skip
                if done.returncode:
                    sys.exit(done.stderr)
                reads.append(json.loads(done.stdout))
            server.stdin.close()
            sent = json.loads(server.stdout.readline())
        first, second = reads
        size = len(picture(0, options.pixels)) + 8
        footers, labels = parts(folder)
        groups = len({row // 100 for row in first["rows"]})
        sample = len(first["rows"]) * size
        rest = sent["sent"] - footers - labels
        print(first["note"])
        print(f"split {weight:,} bytes, {options.rows:,} rows, {options.classes} classes")
        print(f"sent {sent['sent']:,} bytes in {sent['requests']:,} ranges")
        print(f"  footers {footers:,}, label column {labels:,}")
        print(f"  row groups of the sample ({groups}) {rest:,}; sample {sample:,}")
        print(f"  ratio {rest / sample:.2f}")
        print(f"{first['seconds']:.1f} s; again, from the cache, {second['seconds']:.1f} s")
        grown = (first["memory"] - first["imports"]) / 1e6
        print(f"peak memory {first['memory'] / 1e6:.0f} MB, {grown:.0f} MB more than the imports")


def parts(folder: Path) -> tuple[int, int]:
    """Bytes of all footers and of the label column."""
    import pyarrow.parquet as pq

    metadata = [pq.read_metadata(path) for path in folder.iterdir()]
    labels = sum(
        m.row_group(g).column(m.num_columns - 1).total_compressed_size
        for m in metadata for g in range(m.num_row_groups)
    )  # fmt: skip
    return sum(m.serialized_size for m in metadata), labels


if __name__ == "__main__":
    main()
