"""Turns exported workflows into prompts that preview pictures instead of saving them."""

from __future__ import annotations

from .api import Prompt


def with_previews(graph: Prompt, titles: dict[str, str]) -> Prompt:
    """`graph` with previews of these nodes (name -> title), decoded if need be, and without saving."""
    saving = {"CreateVideo", "SaveVideo", "PreviewImage", "ImageScale"}
    graph = {key: node for key, node in graph.items() if node["class_type"] not in saving}
    for name, title in titles.items():
        node = find_node(graph, title)
        decoders = (k for k, n in graph.items() if n["inputs"].get("samples") == [node, 0])
        images = [next(decoders, node), 0]
        graph[name] = {"class_type": "PreviewImage", "inputs": {"images": images}, "_meta": {"title": name}}
    return graph


def find_node(graph: Prompt, title: str) -> str:
    """The id of the first node with this title."""
    return next(key for key, node in graph.items() if node["_meta"]["title"] == title)
