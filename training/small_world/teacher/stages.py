"""The stages of the small world in order: VAE, latents, image model, motion module.

Each reads what the one before it left in `out` and can be cut and run again.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from einops import rearrange
from safetensors.torch import load_file
from torch import Tensor, nn

from animatelcm_core.attach import attached
from animatelcm_core.consistency import add_noise
from animatelcm_core.motion_module import MotionModel, zero_init
from animatelcm_core.schedule import SCHEDULES, Schedule
from animatelcm_core.solver import snr_weight

from ...randomness import sample_generator
from ...tensor_files import save_tensors
from ..world import clips as world
from ..world import degraded as worn
from ..world import domains as kinds
from ..world import judge
from . import networks
from .loop import Recipe, train

VAE = Recipe(steps=2800, batch=16, lr=2e-3, ema=0.995)
VAE_FINE = Recipe(steps=2000, batch=16, lr=1e-3, ema=0.99, seed=1)
DECODER = Recipe(steps=1500, batch=16, lr=6e-4, ema=0.995, seed=2)
IMAGE = Recipe(steps=4000, batch=64, lr=1e-3, ema=0.998)
MOTION = Recipe(steps=3300, batch=6, lr=1e-3, ema=0.998)
MARKED = 0.3  # weight of the watermark by itself: its strokes are few pixels of many
IMAGE_SCHEDULE = Schedule(beta="scaled_linear", original_steps=1000)  # Stable Diffusion 1.5's own


def load_ema(path: Path) -> dict[str, Tensor]:
    return torch.load(path, weights_only=True)["ema"]


def mixed_pictures(n: int, generator: torch.Generator) -> Tensor:
    """(n, 3, 64, 64) in -1..1: a quarter worn, a quarter inked, the rest clean, in that order."""
    counts = {"worn": n // 4, "inked": n // 4, "clean": n - 2 * (n // 4)}
    x = torch.cat([kinds.pictures(kind, count, generator) for kind, count in counts.items()])
    return x.contiguous(memory_format=torch.channels_last)


def mixed_loss(y: Tensor, x: Tensor, emphasis: float) -> Tensor:
    """`picture_loss` of mixed pictures, plus MARKED of the worn ones' watermark by itself."""
    rows, columns = worn.corner()
    marked = slice(0, len(x) // 4), slice(None), rows, columns
    return picture_loss(y, x, emphasis) + MARKED * picture_loss(y[marked], x[marked])


def train_vae(out: Path, compile: bool = False) -> None:
    """Reconstruct frames: first the creature's pixels count most, then all the same.

    With equal weights from the start bodies stay grey for long; with unequal ones to the end the faint tint
    of the water never enters the latents (85 % of the squared error was there).
    """
    torch.manual_seed(VAE.seed)
    model = networks.vae().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    first = _train_vae("vae_first", model, out, compile, VAE, emphasis=6)
    model.load_state_dict(first)
    _train_vae("vae", model, out, compile, VAE_FINE, emphasis=0)


def _train_vae(
    name: str, model: AutoencoderKL, out: Path, compile: bool, recipe: Recipe, emphasis: float
) -> dict[str, Tensor]:
    """Reconstruct, `emphasis` more on the creature.

    The posterior is a point: sampling it from the start drowned the signal in noise (21 dB after 1200 steps).
    A little noise of the latents' own scale keeps the decoder smooth instead.
    """

    def reconstruct(x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        mean = networks.encode(model, x)
        scale = mean.detach().square().mean((0, 2, 3), keepdim=True).sqrt()
        return networks.decode(model, mean + 0.05 * scale * noise), mean

    run = torch.compile(reconstruct) if compile else reconstruct

    def loss_of(generator: torch.Generator) -> Tensor:
        x = mixed_pictures(recipe.batch, generator)
        noise = torch.randn(recipe.batch, 4, 8, 8, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            y, mean = run(x, noise)
        return mixed_loss(y, x, emphasis) + 1e-3 * mean.float().square().mean()

    return train(name, recipe, model, loss_of, out)


def picture_loss(y: Tensor, x: Tensor, emphasis: float = 0) -> Tensor:
    """Absolute and squared error of pictures in -1..1, `emphasis` more on the creature."""
    error = y.float() - x
    creature = x.amax(1, keepdim=True) - x.amin(1, keepdim=True) > 2 * judge.COLOURFUL
    weight = 1 + emphasis * F.max_pool2d(creature.float(), 5, stride=1, padding=2)
    return (weight * (error.abs() + 2 * error.square())).mean()


def train_decoder(out: Path, compile: bool = False, recipe: Recipe = DECODER) -> None:
    """Sharpen the decoder alone. Latents stay what they are: the image model can train at the same time."""
    model = load_vae(out).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for part in (model.decoder, model.post_quant_conv):
        part.requires_grad_(True)  # type: ignore[union-attr]
    run = torch.compile(networks.decode) if compile else networks.decode

    def loss_of(generator: torch.Generator) -> Tensor:
        x = mixed_pictures(recipe.batch, generator)
        with torch.no_grad():
            z = networks.encode(model, x)
        z = z + 0.02 / networks.LATENT_SCALE * torch.randn(z.shape, generator=generator)
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            y = run(model, z)
        return mixed_loss(y, x, emphasis=1)

    train("decoder", recipe, model, loss_of, out)


def load_vae(out: Path) -> AutoencoderKL:
    """The VAE so far: trained, folded, its decoder sharpened, as far as the stages have come."""
    model = networks.vae()
    folded = out / "vae.safetensors"
    model.load_state_dict(load_file(folded) if folded.exists() else load_ema(out / "vae.pt"))
    if (out / "decoder.pt").exists():
        model.load_state_dict(load_ema(out / "decoder.pt"), strict=False)
    return model.eval().requires_grad_(False)


def train_judge(out: Path, compile: bool = False, recipe: Recipe = judge.RECIPE) -> None:
    """The judge's network for bodies."""
    torch.manual_seed(recipe.seed)
    net = judge.BodyNet()

    def loss_of(generator: torch.Generator) -> Tensor:
        x, body = judge.worn_pictures(recipe.batch, generator)
        return F.cross_entropy(net(x), body)

    train("judge", recipe, net, loss_of, out)


def load_judge(out: Path) -> judge.BodyNet:
    net = judge.BodyNet()
    net.load_state_dict(load_ema(out / "judge.pt"))
    return net.eval()


@torch.inference_mode()
def make_latents(out: Path, compile: bool = False, clips: int = 4000) -> None:
    """Encode `clips` clips once: latents.safetensors with latents (n, f, 4, 8, 8) fp16 and labels (n, 3).

    The VAE is first folded so that latents have mean 0 and, times 0.18215, variance 1: see fold.
    """
    if (out / "latents.safetensors").exists():
        return
    model = networks.vae()
    model.load_state_dict(load_ema(out / "vae.pt"))
    model.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = sample_generator(1, 0)
    sample = torch.cat([networks.encode(model, kinds.pictures("clean", 64, generator)) for _ in range(16)])
    fold(model, sample)
    save_tensors(out / "vae.safetensors", {k: v.contiguous() for k, v in model.state_dict().items()})
    latents = torch.empty(clips, world.FRAMES, 4, 8, 8, dtype=torch.float16)
    labels = torch.empty(clips, 3, dtype=torch.int64)
    for start in range(0, clips, 20):
        batch = world.sample_clips(min(20, clips - start), sample_generator(2, start))
        x = world.draw(batch).flatten(0, 1) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        mean = networks.encode(model, x) * networks.LATENT_SCALE
        stop = start + len(batch)
        latents[start:stop] = mean.view(len(batch), world.FRAMES, 4, 8, 8)
        labels[start:stop] = torch.stack([batch.body, batch.colour, batch.motion], dim=1)
        if start % 500 == 0:
            print(f"latents {stop}/{clips}")
    save_tensors(out / "latents.safetensors", {"latents": latents, "labels": labels})


def fold(model: AutoencoderKL, sample: Tensor) -> None:
    """Change the VAE's latent units without changing what it does, so that x 0.18215 gives unit variance.

    sample: (n, 4, 8, 8) raw latents. The 1x1 convolutions beside the latent take the affine map up.
    """
    mean, scale = sample.mean((0, 2, 3)), 1 / (sample.std((0, 2, 3)) * networks.LATENT_SCALE)
    quant, post = model.quant_conv, model.post_quant_conv
    assert quant is not None
    assert post is not None
    assert quant.bias is not None
    assert post.bias is not None
    quant.weight[:4] *= scale[:, None, None, None]
    quant.bias[:4] = (quant.bias[:4] - mean) * scale
    quant.weight[4:] = 0  # the posterior is a point
    quant.bias[4:] = -30
    post.bias += (post.weight[:, :, 0, 0] * mean).sum(1)
    post.weight /= scale[None, :, None, None]


class ImageModel(nn.Module):
    """UNet and text model, trained together."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = networks.unet()
        self.text = networks.text_model()


def captions_of(
    labels: Tensor, generator: torch.Generator, empty: float = 0.1, brief: float = 0.1
) -> list[str]:
    """Captions of labels (n, 3); a share is empty (for guidance), a share leaves colour or motion out."""
    texts = []
    for (body, colour, motion), dice in zip(
        labels.tolist(), torch.rand(len(labels), generator=generator).tolist(), strict=True
    ):
        text = world.caption(world.BODIES[body], list(world.COLOURS)[colour], world.MOTIONS[motion])
        words = text.split()
        if dice < empty:
            text = ""
        elif dice < empty + brief / 2:
            text = world.without_colour(text)
        elif dice < empty + brief:
            text = " ".join(words[:3])
        texts.append(text)
    return texts


def noisy_timesteps(n: int, generator: torch.Generator) -> Tensor:
    """(n,) of 0..999, each the noisier of two draws: what a clip shows is decided at high noise.

    With even draws the heading was still unknown at t = 800 after 2350 steps (a wrong motion word cost 1 %
    more loss than the right one), and clips turned while they swam.
    """
    return torch.randint(1000, (2, n), generator=generator).amax(0)


def noise_loss(eps: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """Squared error of the predicted noise, weighed as an error in x_0 that counts snr, held to 0.1 .. 5.

    With equal weights nearly all of the gradient comes from low noise, where only texture is left to learn
    (min-SNR cuts that off), and next to none from the highest, where a clip's path is decided: at t = 900 an
    error in x_0 counts 0.005, and creatures drifted anywhere while they looked ahead.
    """
    weight = snr_weight(alpha_bar, 0.1, 5, torch.float64)
    return (weight * (eps.float() - noise).square().flatten(1).mean(1)).mean()


def train_image(out: Path, compile: bool = False, recipe: Recipe = IMAGE) -> None:
    """Predict the noise of single frames from their captions, on Stable Diffusion's own noise schedule."""
    torch.manual_seed(recipe.seed)
    data = load_file(out / "latents.safetensors")
    latents, labels = data["latents"], data["labels"]
    alpha_bar = IMAGE_SCHEDULE.alpha_bar()
    model = ImageModel()
    model.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = torch.compile(model.unet) if compile else model.unet

    def loss_of(generator: torch.Generator) -> Tensor:
        n = recipe.batch
        clip = torch.randint(len(latents), (n,), generator=generator)
        frame = torch.randint(world.FRAMES, (n,), generator=generator)
        x0 = latents[clip, frame].float()
        noise = torch.randn(x0.shape, generator=generator)
        t = noisy_timesteps(n, generator)
        context = networks.encode_text(model.text, captions_of(labels[clip], generator))
        x = add_noise(x0, noise, alpha_bar[t]).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            eps = run(x, t, context, return_dict=False)[0]
        return noise_loss(eps, noise, alpha_bar[t])

    train("image", recipe, model, loss_of, out)


def load_image(out: Path) -> ImageModel:
    model = ImageModel()
    model.load_state_dict(load_ema(out / "image.pt"), strict=False)
    return model.eval().requires_grad_(False)


def train_motion(out: Path, compile: bool = False, recipe: Recipe = MOTION) -> None:
    """Predict the noise of whole clips with only the temporal modules learning, as AnimateDiff does."""
    torch.manual_seed(recipe.seed)
    data = load_file(out / "latents.safetensors")
    latents, labels = data["latents"], data["labels"]
    alpha_bar = SCHEDULES["animatediff"].alpha_bar()
    image = load_image(out)
    image.unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    motion = zero_init(MotionModel(networks.MOTION))

    run = torch.compile(image.unet) if compile else image.unet

    def loss_of(generator: torch.Generator) -> Tensor:
        n = recipe.batch
        clip = torch.randint(len(latents), (n,), generator=generator)
        x0 = latents[clip].float()
        noise = torch.randn(x0.shape, generator=generator)
        t = noisy_timesteps(n, generator)
        x = rearrange(add_noise(x0, noise, alpha_bar[t]), "b f c h w -> (b f) c h w")
        with torch.no_grad():
            context = networks.encode_text(image.text, captions_of(labels[clip], generator))
        with torch.autocast("cpu", torch.bfloat16, enabled=compile):
            eps = run(
                x.contiguous(memory_format=torch.channels_last),
                t.repeat_interleave(world.FRAMES),
                context.repeat_interleave(world.FRAMES, dim=0),
                return_dict=False,
            )[0]
        return noise_loss(rearrange(eps, "(b f) c h w -> b f c h w", b=n), noise, alpha_bar[t])

    with attached(image.unet, motion.blocks(), world.FRAMES):
        train("motion", recipe, motion, loss_of, out)
