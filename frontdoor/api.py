"""A client of a ComfyUI server: queues prompts, follows them, fetches results. Runs in .venv (aiohttp)."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from .problem import Problem

Prompt = dict[str, Any]  # API format: node id -> {"class_type": ..., "inputs": {...}}
Event = tuple[str, dict[str, Any]]  # message type and data, as the WebSocket sends them
Listener = Callable[[str, dict[str, Any]], None]


class Rejected(Problem):
    """The server refused a prompt. `node_errors`: node id -> what is wrong there."""

    def __init__(self, reply: dict[str, Any]) -> None:
        self.error: dict[str, Any] = reply.get("error", {})
        self.node_errors: dict[str, Any] = reply.get("node_errors", {})
        lines = ["The server refused the prompt.", str(self.error.get("message", ""))]
        lines += [f"{e['message']}: {e['details']}" for n in self.node_errors.values() for e in n["errors"]]
        super().__init__("\n".join(lines))


class Failed(Problem):
    """A prompt ended with an error or was interrupted. `run` has the details."""

    def __init__(self, run: Run) -> None:
        self.run = run
        error = run.error or {}
        said = f"{error.get('node_type')}: {error.get('exception_message')}" if error else run.status
        super().__init__(f"The prompt did not succeed. {said.strip()}")


@dataclass
class Run:
    """What happened to one prompt."""

    prompt_id: str
    status: str = "unknown"  # success, error, interrupted
    events: list[Event] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)  # node id -> what it reports, from the history

    def data(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of this kind, in order."""
        return [data for name, data in self.events if name == kind]

    @property
    def error(self) -> dict[str, Any] | None:
        """node_id, node_type, exception_type, exception_message, traceback of a failed prompt."""
        return next(iter(self.data("execution_error")), None)

    @property
    def cached(self) -> set[str]:
        """Ids of the nodes that did not have to run."""
        return {node for data in self.data("execution_cached") for node in data["nodes"]}

    @property
    def executed(self) -> list[str]:
        """Ids of the nodes that ran, in order."""
        return [data["node"] for data in self.data("executing") if data["node"] is not None]


class Client:
    """`with Client(server.url) as client: run = client.run(prompt)`."""

    def __init__(self, url: str) -> None:
        self.url, self.client_id = url, uuid.uuid4().hex
        self.previews: list[bytes] = []  # binary messages: 4 bytes for the type, then header and picture
        self._inbox: dict[str, queue.Queue[Event]] = defaultdict(queue.Queue)
        self._direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({})
        )  # a proxy has no part in this
        self._greeted = threading.Event()
        self._broken: str | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, daemon=True)

    def __enter__(self) -> Client:
        self._thread.start()
        if not self._greeted.wait(60):
            raise Problem(f"The WebSocket of {self.url} did not answer. {self._broken or ''}")
        return self

    def __exit__(self, *failure: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)

    # HTTP

    def get(self, path: str, **query: str) -> Any:
        """The JSON at `path`."""
        return json.loads(self.get_bytes(path, **query))

    def get_bytes(self, path: str, **query: str) -> bytes:
        """The content at `path`."""
        with self._direct.open(f"{self.url}{path}?{urllib.parse.urlencode(query)}", timeout=60) as reply:
            return reply.read()

    def post(self, path: str, data: Any = None) -> Any:
        """Post JSON; returns the reply's JSON, None where it has none."""
        body = json.dumps(data if data is not None else {}).encode()
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with self._direct.open(request, timeout=60) as reply:
            content = reply.read()
        return json.loads(content) if content else None

    def object_info(self, node: str | None = None) -> dict[str, Any]:
        """Node id -> its inputs and outputs, of one node or of all."""
        return self.get(f"/object_info/{node}" if node else "/object_info")

    def interrupt(self) -> None:
        """Stop the prompt that runs."""
        self.post("/interrupt")

    def free(self) -> None:
        """Unload all models and forget cached results. The server does so between prompts, soon after."""
        self.post("/free", {"unload_models": True, "free_memory": True})

    # Prompts

    def queue(self, prompt: Prompt, extra_data: dict[str, Any] | None = None) -> str:
        """Queue a prompt; returns its id. Raises Rejected."""
        try:
            reply = self.post("/prompt", self._order(prompt, extra_data))
        except urllib.error.HTTPError as error:
            content = error.read()
            if error.code != 400:
                raise
            raise Rejected(json.loads(content)) from None
        return reply["prompt_id"]

    def _order(self, prompt: Prompt, extra_data: dict[str, Any] | None) -> dict[str, Any]:
        return {"prompt": prompt, "client_id": self.client_id, "extra_data": extra_data or {}}

    def wait(self, prompt_id: str, timeout: float = 600, on_event: Listener | None = None) -> Run:
        """Follow a prompt of this client to its end; `on_event(type, data)` is called as messages come."""
        run, end = Run(prompt_id), time.monotonic() + timeout
        while True:
            kind, data = self._next_event(prompt_id, end)
            run.events.append((kind, data))
            if on_event is not None:
                on_event(kind, data)
            if kind in ("execution_success", "execution_error", "execution_interrupted"):
                run.status = kind.removeprefix("execution_")
            # Sent last, after the history was written.
            if kind == "executing" and data["node"] is None:
                history = self.get(f"/history/{prompt_id}")
                run.outputs = history.get(prompt_id, {}).get("outputs", {})
                return run

    def run(self, prompt: Prompt, timeout: float = 600, on_event: Listener | None = None) -> Run:
        """Queue a prompt and wait until it has succeeded. Raises Rejected or Failed."""
        run = self.wait(self.queue(prompt), timeout, on_event)
        if run.status != "success":
            raise Failed(run)
        return run

    def files(self, run: Run, node: str, key: str = "images") -> list[bytes]:
        """The files that an output node reports: PNG pictures, or an mp4 (under `images` as well)."""
        names = ("filename", "subfolder", "type")
        return [self.get_bytes("/view", **{k: file[k] for k in names}) for file in run.outputs[node][key]]

    # WebSocket

    def _next_event(self, prompt_id: str, end: float) -> Event:
        """The next message about this prompt. Raises Problem after `end`, or when the connection is lost."""
        inbox = self._inbox[prompt_id]
        while time.monotonic() < end:
            try:
                return inbox.get(timeout=1)
            except queue.Empty:
                if self._broken is not None:
                    raise Problem(f"The connection to {self.url} was lost: {self._broken}") from None
        raise Problem(f"Prompt {prompt_id} did not end in the time allowed.")

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._listen())
        try:
            self._loop.run_until_complete(self._task)
            self._broken = "the server closed it"
        except asyncio.CancelledError:
            self._broken = "this client closed it"
        except (aiohttp.ClientError, OSError) as error:
            self._broken = str(error)
        finally:
            self._loop.close()

    async def _listen(self) -> None:
        url = f"{self.url}/ws?clientId={self.client_id}"
        async with aiohttp.ClientSession() as session, session.ws_connect(url, max_msg_size=0) as socket:
            async for message in socket:
                if message.type == aiohttp.WSMsgType.BINARY:
                    self.previews.append(message.data)
                elif message.type == aiohttp.WSMsgType.TEXT:
                    content = json.loads(message.data)
                    data = content.get("data") or {}
                    self._inbox[data.get("prompt_id", "")].put((content["type"], data))
                    self._greeted.set()
