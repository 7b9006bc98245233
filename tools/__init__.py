"""Maintainers' scripts: workflows and their pictures, the README's picture, the import rules, the archive."""
