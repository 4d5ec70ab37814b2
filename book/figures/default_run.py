"""The default run of the capstone, as it was measured: loss on held-out text, beside counting."""

import json
from pathlib import Path

MEASURED = Path(__file__).parents[1] / "measured" / "default_run.json"


def render() -> str:
    run = json.loads(MEASURED.read_text("utf8"))
    nats_to_bits = run["bits_per_byte"] / run["loss"]
    rows = [
        f'<tr><th scope="row">{model["order"]}-gram</th><td>{model["loss"]:.3f}</td>'
        f"<td>{model['loss'] * nats_to_bits:.3f}</td><td>{model['difference']:+.3f}</td>"
        f"<td>{model['standard_error']:.3f}</td></tr>"
        for model in run["baselines"]
    ]
    rows.append(
        f'<tr><th scope="row">transformer</th><td>{run["loss"]:.3f}</td><td>{run["bits_per_byte"]:.3f}</td>'
        "<td></td><td></td></tr>"
    )
    return (
        f"<table><caption>Loss on the held-out part of {run['text']} after {run['steps']:,} steps: a transformer of "
        f"{run['parameters']:,} parameters, {run['seconds']:.0f} seconds on {run['machine']}, beside n-gram models "
        f"that counted the same training text. Measured on {run['date']} by {run['command']}.</caption>"
        '<thead><tr><th scope="col">model</th><th scope="col">nats per character</th><th scope="col">bits per byte</th>'
        '<th scope="col">minus the transformer</th><th scope="col">standard error</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )
