"""Writes the tables of docs/ that come from the contract; ``--check`` only says whether they are up to date.

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``; what is around it is prose.
"""

from __future__ import annotations

import sys
from pathlib import Path

from glioserve_contract import ErrorCode
from glioserve_contract.metrics import STAGE_SECONDS, STAGE_SECONDS_HELP, STAGES, STUDIES, STUDIES_HELP
from glioserve_contract.tensors import MODELS, Tensor
from glioserve_dicom.identity import IDENTIFYING_ATTRIBUTES, KEPT_ATTRIBUTES, Treatment

DOCS = Path(__file__).resolve().parents[1] / "docs"


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def errors() -> str:
    """Every error code."""
    rows = [
        (f"`{c.token}`", f"`{c.name}`", f"`{c.row.status.value}`", c.row.retry.value, c.row.summary, c.row.action)
        for c in ErrorCode
    ]
    return table(("token", "name", "gRPC status", "retry", "what it means", "what to do"), rows)


def tensors() -> str:
    """Every tensor of every model."""
    parts = []
    for model in MODELS:
        batch = f"max_batch_size {model.max_batch_size}" if model.max_batch_size else "no batching"
        rows = [(*_tensor_row(t), "optional input" if t.optional else "input") for t in model.inputs]
        rows += [(*_tensor_row(t), "output") for t in model.outputs]
        head = ("tensor", "type", "shape", "axes", "unit", "what it is", "")
        parts.append(f"### `{model.name}` ({model.kind}, {batch})\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def _tensor_row(tensor: Tensor) -> tuple[str, ...]:
    shape = ", ".join(str(d) for d in tensor.shape)
    return f"`{tensor.name}`", tensor.dtype, f"[{shape}]", tensor.axes, tensor.unit, tensor.description


def kept() -> str:
    """What the client sends of a DICOM file."""
    rows = [(t.value, ", ".join(f"`{k}`" for k, v in KEPT_ATTRIBUTES.items() if v is t)) for t in Treatment]
    return table(("treatment", "attributes"), rows)


def identifying() -> str:
    """What the server refuses."""
    return ", ".join(f"`{k}`" for k in IDENTIFYING_ATTRIBUTES)


def metrics() -> str:
    """Our metrics beside Triton's."""
    return table(
        ("metric", "type", "labels", "what it is"),
        [
            (f"`{STUDIES}`", "counter", "`outcome`, `code`", STUDIES_HELP),
            (f"`{STAGE_SECONDS}`", "histogram", "`stage`: " + ", ".join(STAGES), STAGE_SECONDS_HELP),
        ],
    )


PARTS = {
    "errors": ("errors.md", errors),
    "tensors": ("wire.md", tensors),
    "kept": ("privacy.md", kept),
    "identifying": ("privacy.md", identifying),
    "metrics": ("operations.md", metrics),
}


def render(text: str, name: str, body: str) -> str:
    """``text`` with the part ``name`` replaced."""
    start, end = f"<!-- generated: {name} -->\n", "\n<!-- end -->"
    before, _, rest = text.partition(start)
    _, found, after = rest.partition(end)
    if not found:
        raise SystemExit(f"no place for {name!r}: {start!r} … {end!r}")
    return before + start + body + end + after


def main(check: bool) -> int:
    """0 when everything is (or now is) up to date."""
    stale = []
    for name, (file, make) in PARTS.items():
        path = DOCS / file
        old = path.read_text(encoding="utf-8")
        new = render(old, name, make())
        if new != old:
            stale.append(f"docs/{file}: {name}")
            if not check:
                path.write_text(new, encoding="utf-8")
    if stale:
        print(("out of date, run `make docs`: " if check else "written: ") + ", ".join(stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
