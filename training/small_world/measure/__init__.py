"""The measurements: models that sample clips, metrics, cells of tables, results and plots."""
