"""What of a style can act in a run, and what cannot."""

from __future__ import annotations

import logging
from functools import lru_cache

from velatura.errors import SettingError
from velatura.losses import CLIP_LOSSES, PICTURE_LOSSES
from velatura.methods.guided.mixing import GuidedMix
from velatura.methods.guided.settings import GuidedSettings
from velatura.models.backbone import PLACEHOLDER, Backbone, TextConditioned
from velatura.style import Style

log = logging.getLogger("velatura")


def check_style_acts(settings: GuidedSettings, style: Style, backbone: Backbone) -> None:
    """Raise SettingError where no part of a style can act on the result, which would be the photo."""
    mix = GuidedMix.of(style)
    off = mix.losses_off(settings.weights)
    if mix.in_words:
        note_once(
            f"The style '{style.name}' is in words: what needs a style picture is off "
            f"({', '.join((*(f'the loss {name}' for name in off), 'moving colours and contrast'))})."
        )
    style_losses = (PICTURE_LOSSES | CLIP_LOSSES) - set(off)
    by_loss = settings.guidance_rms > 0 and any(settings.weights.get(name) for name in style_losses)
    by_start = max(settings.palette, settings.contrast) > 0 and not mix.in_words
    by_prompt = settings.guidance_scale != 0 and mix.acts_in_prompt(settings.prompt, backbone)
    if settings.run_steps and not (by_loss or by_start or by_prompt):
        raise SettingError(f"Nothing of the style '{style.name}' can act: {_remedy(mix, backbone)}.")


def _remedy(style: GuidedMix, backbone: Backbone) -> str:
    prompt = f"write a prompt with {PLACEHOLDER}, as --set prompt='a painting in the style of {PLACEHOLDER}'"
    if not style.in_words:
        return f"give a loss on it a weight, as --loss texture=3, or {prompt}"
    clip = "give a loss on CLIP's embeddings a weight, as --loss clip_dir_patch=1"
    return f"{prompt}, or {clip}" if isinstance(backbone, TextConditioned) else clip


@lru_cache(maxsize=64)
def note_once(text: str) -> None:
    """Log a warning, once for all pictures of a session."""
    log.warning(text)
