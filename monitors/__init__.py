"""Watching: looks from three vantages become verdicts, verdicts become incidents, one per fault.

``targets`` says who looks at what, ``probes/`` look, ``judge`` decides (pure), ``agent`` paces and ``outlet`` reports.
At the controller ``intake`` takes reports in, ``task`` opens and closes incidents, ``metrics`` tells Prometheus.
"""
