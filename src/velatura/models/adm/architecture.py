"""ADM, the pixel-space UNet of guided diffusion (Dhariwal & Nichol 2021), as diffusers' UNet2DModel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from velatura.errors import ModelError

TIMESTEPS = 1000  # of the training schedules
EMBEDDING_FACTOR = 4  # of the base width: the width of the time embedding

# Multipliers that the original code takes for a side in pixels where its flag is empty.
USUAL_MULTIPLIERS: Mapping[int, tuple[float, ...]] = {
    512: (0.5, 1, 1, 2, 2, 4, 4),
    256: (1, 1, 2, 2, 4, 4),
    128: (1, 1, 2, 3, 4),
    64: (1, 2, 3, 4),
}


@dataclass(frozen=True)
class AdmShape:
    """The architecture of an ADM, in the terms of the original code's flags.

    ``attention_levels`` counts halvings of the picture. Attention has ``heads`` heads, or, where that is 0, heads of
    ``head_channels`` channels. ``attention_order`` is that of q, k and v in the original weights: "legacy" (a head
    at a time) or "new". ``schedule`` is "linear" or "cosine". Scale-shift norms, residual up- and downsampling and
    a learned variance are assumed. Raises ModelError for an unknown order or schedule, for channels that do not divide
    into heads, and for an ``image_size`` that cannot be halved at each level.
    """

    image_size: int
    width: int
    multipliers: tuple[float, ...]
    residual_blocks: int
    attention_levels: tuple[int, ...]
    head_channels: int = 64
    heads: int = 0
    classes: int = 0
    attention_order: str = "legacy"
    schedule: str = "linear"

    def __post_init__(self) -> None:
        if self.attention_order not in ("legacy", "new"):
            raise ModelError(f"The attention order must be legacy or new, not '{self.attention_order}'.")
        if self.schedule not in ("linear", "cosine"):
            raise ModelError(f"The noise schedule must be linear or cosine, not '{self.schedule}'.")
        most = 2 ** (len(self.multipliers) - 1)
        if self.image_size < 1 or self.image_size % most:
            raise ModelError(
                f"A model of {len(self.multipliers)} levels has a side of a multiple of {most} pixels, not "
                f"{self.image_size}: give --image-size."
            )
        attending = [channels for level, channels in enumerate(self.channels) if level in self.attention_levels]
        odd = [c for c in (*attending, self.channels[-1]) if c % (self.heads or self.head_channels)]
        if odd:
            raise ModelError(
                f"{odd[0]} channels do not divide into "
                + (f"{self.heads} heads." if self.heads else f"heads of {self.head_channels}: give --head-channels.")
            )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(int(self.width * multiplier) for multiplier in self.multipliers)

    @staticmethod
    def of_flags(flags: Mapping[str, Any]) -> AdmShape:
        """The shape that the keywords of the original code's ``create_model_and_diffusion`` describe.

        Raises ModelError for a model without scale-shift norms, residual resampling or a learned variance.
        """
        side = int(flags["image_size"])
        for flag in ("learn_sigma", "use_scale_shift_norm", "resblock_updown"):
            if not flags.get(flag, True):
                raise ModelError(f"Models with {flag}=False are not supported: scale-shift and learned variance only.")
        for flag in ("predict_xstart", "use_kl"):
            if flags.get(flag):
                raise ModelError(f"Models with {flag}=True are not supported: only those that predict the noise.")
        # rescale_timesteps scales to 0..1000: it does nothing to the only number of steps that there is here.
        steps = int(flags.get("diffusion_steps", TIMESTEPS))
        if steps != TIMESTEPS:
            raise ModelError(f"Models of {steps} diffusion steps are not supported: only those of {TIMESTEPS}.")
        listed = str(flags.get("channel_mult") or "")
        multipliers = tuple(float(m) for m in listed.split(",")) if listed else USUAL_MULTIPLIERS[side]
        factors = [side // int(resolution) for resolution in str(flags["attention_resolutions"]).split(",")]
        head_channels = int(flags.get("num_head_channels", -1))
        return AdmShape(
            image_size=side,
            width=int(flags["num_channels"]),
            multipliers=multipliers,
            residual_blocks=int(flags["num_res_blocks"]),
            attention_levels=tuple(level for level in range(len(multipliers)) if 2**level in factors),
            head_channels=max(head_channels, 0),
            heads=0 if head_channels > 0 else int(flags["num_heads"]),
            classes=1000 if flags.get("class_cond") else 0,
            attention_order="new" if flags.get("use_new_attention_order") else "legacy",
            schedule=str(flags.get("noise_schedule", "linear")),
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)

    @staticmethod
    def of_dict(values: Mapping[str, Any]) -> AdmShape:
        """The shape of fields that ``as_dict`` gave, read back from JSON."""
        lists = {name: tuple(values[name]) for name in ("multipliers", "attention_levels")}
        return AdmShape(**{**values, **lists})


def build_adm(shape: AdmShape) -> Any:
    """A UNet2DModel of this shape with fresh weights: pixels (B, 3, H, W) to noise and variance logits (B, 6, H, W).

    diffusers has one width of heads for all levels, and a sinusoid as wide as the first level: where ADM differs
    (a number of heads; the 512 px model's half-width first level) those modules are set afterwards.
    """
    from diffusers import UNet2DModel
    from diffusers.models.attention_processor import Attention
    from diffusers.models.embeddings import TimestepEmbedding, Timesteps

    attends = [level in shape.attention_levels for level in range(len(shape.multipliers))]
    embedding_width = EMBEDDING_FACTOR * shape.width
    unet = UNet2DModel(
        sample_size=shape.image_size,
        in_channels=3,
        out_channels=6,
        block_out_channels=shape.channels,
        layers_per_block=shape.residual_blocks,
        down_block_types=tuple("AttnDownBlock2D" if a else "ResnetDownsampleBlock2D" for a in attends),
        up_block_types=tuple("AttnUpBlock2D" if a else "ResnetUpsampleBlock2D" for a in attends[::-1]),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=shape.head_channels or 1,
        attn_norm_num_groups=32,
        norm_eps=1e-5,
        time_embedding_dim=embedding_width,
        num_class_embeds=shape.classes or None,
    )
    if shape.channels[0] != shape.width:
        unet.time_proj = Timesteps(shape.width, flip_sin_to_cos=True, downscale_freq_shift=0)
        unet.time_embedding = TimestepEmbedding(shape.width, embedding_width)
    if shape.heads:
        for attention in (module for module in unet.modules() if isinstance(module, Attention)):
            attention.heads = shape.heads
            attention.scale = (attention.to_q.out_features // shape.heads) ** -0.5
    return unet
