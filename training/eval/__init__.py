"""Metrics that know no model and no world: distances of feature sets, confidence intervals."""
