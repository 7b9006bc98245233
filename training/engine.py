"""The training loop around a stage: batches, updates, checkpoints, log. Runs the same on one process or many.

A run that was cut resumes from its newest checkpoint in `out` and ends with the weights it would have had:
what is random about a sample depends on its position in the data alone (stages/distil.py, data/loader.py).
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from . import arithmetic, checkpoint, checkpoint_fit
from .config import ConfigError, RunConfig, fingerprint, fingerprints
from .data.loader import Loader, Stream
from .data.sample import Batch
from .ema import ema_update
from .health import Health
from .lr_schedule import lr_at
from .metrics import Log, LogWindow
from .samples import SampleGrids
from .stages.stage import Stage

ONE_REQUEST = 5.0  # seconds in which signals are one request to stop: launchers repeat those of a terminal


class Interrupted(Exception):
    """The run was asked to stop; everything is saved."""


class Trainer:
    """One run. `accelerator` brings devices, precision and processes."""

    def __init__(self, config: RunConfig, stage: Stage, dataset: Any, accelerator: Accelerator):
        self.config, self.stage, self.accelerator = config, stage, accelerator
        self.params = stage.trainable()
        self.optimizer = torch.optim.AdamW(
            self._groups(),
            lr=config.optim.lr,
            betas=config.optim.betas,
            weight_decay=config.optim.weight_decay,
            fused=True,
        )
        self.average = {k: p.detach().clone() for k, p in self.params.items()} if config.ema_decay else {}
        self.step, self.tflop = 0, 0.0
        self.health = Health(config.out, self.params)
        self.fingerprint = fingerprint(config, accelerator.num_processes)
        position = self._resume()
        self.loader = Loader(
            dataset,
            Stream(
                seed=config.seed,
                batch=config.batch.size,
                process_index=accelerator.process_index,
                processes=accelerator.num_processes,
                start=position,
                workers=config.batch.workers,
            ),
        )
        stage.online = accelerator.prepare_model(stage.network)
        self.stop = False

    # Saving and resuming.

    def _resume(self) -> int:
        """Load the newest whole checkpoint of `out`, if any. Returns the position in the data."""
        found = checkpoint.newest(self.config.out, self._fit)
        if found is None:
            return 0
        _, state = found
        with torch.no_grad():
            for name, parameter in self.params.items():
                parameter.copy_(state.online[name])
            for name, value in self.average.items():
                value.copy_(state.average[name])
        self.stage.load_extra(state.extra)
        self.optimizer.load_state_dict(state.optimizer)
        self.step = state.step
        self.tflop = state.counters["tflop_per_step"]
        self.health.left_out = int(state.counters.get("left_out", 0))
        return int(state.counters["position"])

    def _fit(self, state: checkpoint.State) -> checkpoint.State:
        """`state`, compared with the run before any of it is loaded, with the optimizer's part fitted.

        Raises ConfigError for one of another config, CheckpointError for one that does not fit.
        """
        if state.fingerprint not in fingerprints(self.config, self.accelerator.num_processes):
            raise ConfigError(
                f"got a config other than that of {checkpoint.folder_of(self.config.out, state.step)}; "
                "expected the same base, data, method and samples an update (batch.size times "
                "batch.accumulate times processes). Use another `out`, or the config that is saved beside "
                "the checkpoints."
            )
        own = {"online": self.params, "average": self.average, "extra": self.stage.extra_state()}
        for name, into in own.items():
            checkpoint_fit.check_tensors(f"{name}.safetensors", getattr(state, name), into)
        return replace(state, optimizer=checkpoint_fit.fitted_optimizer(state, self.optimizer))

    def save(self) -> None:
        """Write a checkpoint; every process calls it, the main one writes, the others wait.

        A process that left earlier would have its launcher end the one that still writes. Raises
        FloatingPointError in all of them, and writes nothing, where a number is not finite.
        """
        state = self.state()
        self.health.check_state(state)
        if self.accelerator.is_main_process:
            checkpoint.save(self.config.out, state, self.config.keep)
        self.accelerator.wait_for_everyone()

    def state(self) -> checkpoint.State:
        """The state of the run now."""
        return checkpoint.State(
            self.step,
            {k: p.detach() for k, p in self.params.items()},
            self.average,
            self.stage.extra_state(),
            self.optimizer.state_dict(),
            self.fingerprint,
            {
                "position": self.loader.position,
                "tflop_per_step": self.tflop,
                "left_out": self.health.left_out,
            },
        )

    # The loop.

    def run(self) -> None:
        """Train to `config.steps`. Raises Interrupted after a SIGTERM or Ctrl-C, with everything saved."""
        c = self.config
        log = Log(c.out, self.step, c.steps) if self.accelerator.is_main_process else None
        grids = SampleGrids(c, self.stage, self.accelerator)
        window, waited, since = LogWindow(c.solver.steps), 0.0, time.monotonic()
        batches = iter(self.loader)
        try:
            with self.listening():
                while self.step < c.steps:
                    waited += self.update(batches, window)
                    if log is not None:
                        log.advance()
                    if self.step % c.log_every == 0 or self.step == c.steps:
                        row = self._row(window, waited, time.monotonic() - since)
                        window, waited, since = LogWindow(c.solver.steps), 0.0, time.monotonic()
                        if log is not None:
                            log.write(self.step, row)
                    stop = self._asked_to_stop()
                    if self.step % c.save_every == 0 or self.step == c.steps or stop:
                        self.save()
                    if self.step % c.samples.every == 0 or self.step == c.steps:
                        grids.write(self.step)
                    if stop:
                        raise Interrupted(
                            f"stopped at step {self.step} of {c.steps}; the same command resumes it"
                        )
        finally:
            batches.close()  # its workers end now: they take no signals
            if log is not None:
                log.close()
        self.health.account(self.step)

    def update(self, batches: Iterator[Batch], window: LogWindow) -> float:
        """One optimizer step of `accumulate` micro-batches. Returns seconds spent waiting for data."""
        c, waited = self.config, 0.0
        # 1. The learning rate of this step.
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * self._lr(self.step)
        # 2. Gradients of all micro-batches, summed; processes average them with the last one.
        self.optimizer.zero_grad(set_to_none=True)
        for i in range(c.batch.accumulate):
            began = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - began
            last = i == c.batch.accumulate - 1
            with _maybe_no_sync(self.accelerator, self.stage.online, not last):
                if not self.tflop:
                    self.tflop = self._count(batch)
                window.add(self._micro(batch))
        norm = self.accelerator.clip_grad_norm_(self.params.values(), c.optim.max_grad_norm)
        # 3. The update. Gradients are averaged by now: the norm is the same in every process.
        assert isinstance(norm, Tensor)
        window.norm, usable = self.health.look_at(norm, self.step)
        if usable:
            self.optimizer.step()
            self._after_update()
            self.health.updated()
        self.step += 1
        return waited

    def _micro(self, batch: Batch) -> dict[str, Tensor]:
        def backward(loss: Tensor) -> None:
            self.accelerator.backward(loss / self.config.batch.accumulate)

        return self.stage.step(batch, backward, lambda: self.accelerator.autocast())

    def _after_update(self) -> None:
        self.stage.after_update()
        if self.average:
            mu = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
            ema_update(self.average.values(), self.params.values(), mu)

    # Helpers.

    def _groups(self) -> list[dict[str, Any]]:
        """The trainable parameters by the stage's factor on their learning rate."""
        groups: dict[float, list[nn.Parameter]] = {}
        for name, parameter in self.params.items():
            groups.setdefault(self.stage.lr_factor(name), []).append(parameter)
        return [{"params": members, "factor": factor} for factor, members in groups.items()]

    def _lr(self, step: int) -> float:
        optim = self.config.optim
        return lr_at(optim.lr, optim.warmup, step, self.config.steps, optim.schedule == "cosine")

    def _count(self, batch: Batch) -> float:
        """Counted arithmetic of one optimizer step of all processes, in TFLOP. Changes nothing."""
        with arithmetic.counter() as counter:
            self._micro(batch)
        self.optimizer.zero_grad(set_to_none=True)
        return (
            counter.get_total_flops() * self.config.batch.accumulate * self.accelerator.num_processes / 1e12
        )

    def _row(self, window: LogWindow, waited: float, seconds: float) -> dict[str, float]:
        c = self.config
        steps = len(window.loss) / c.batch.accumulate
        clips = len(window.loss) * c.batch.size * self.accelerator.num_processes
        row = window.row(self.accelerator.gather)
        row |= {
            "norm": window.norm,
            "rate": self._lr(self.step - 1),
            "clips_per_second": clips / seconds,
            "data_wait": waited / seconds,
            "tflop": self.tflop * self.step,
            "tflops_per_second": self.tflop * steps / seconds,
        }
        return {**row, **self.stage.metrics()}

    def _asked_to_stop(self) -> bool:
        """Whether any process was asked to stop."""
        if self.accelerator.num_processes == 1:
            return self.stop
        flag = torch.tensor(float(self.stop), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)  # type: ignore[operator]

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let SIGTERM and Ctrl-C ask for a stop after the current step; a second one ends the run at once."""
        asked = 0.0

        def ask(number: int, _frame: object) -> None:
            nonlocal asked
            if not self.stop:
                self.stop, asked = True, time.monotonic()
            elif time.monotonic() - asked > ONE_REQUEST:
                raise KeyboardInterrupt

        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def _maybe_no_sync(accelerator: Accelerator, model: nn.Module, wanted: bool) -> Iterator[None]:
    """Gradients are averaged over processes only with the last micro-batch of a step."""
    if wanted:
        with accelerator.no_sync(model):
            yield
    else:
        yield
