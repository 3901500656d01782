"""Parses metrics from stdin with Prometheus' own parser, and prints each family as a line of JSON."""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families

for family in text_string_to_metric_families(sys.stdin.read()):
    # The parser knows a counter by its name in OpenMetrics, which has no such ending.
    ending = "_total" if family.type == "counter" else ""
    samples = [[sample.name, sample.labels, sample.value] for sample in family.samples]
    print(json.dumps({"name": family.name + ending, "type": family.type, "help": family.documentation, "samples": samples}))
