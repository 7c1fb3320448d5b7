"""From a style to what the losses aim at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from velatura.errors import SettingError
from velatura.losses import CLIP_LOSSES, LOSSES, Loss, Objective, StyleStatistics, Targets, View, make_objective
from velatura.losses.eyes import Goal, goal_of_picture, goal_of_text, published_goal_of_text
from velatura.losses.published import PUBLISHED_LOSSES
from velatura.losses.statistics import style_statistics
from velatura.losses.window import windows_over
from velatura.memory import Memory
from velatura.models.backbone import Backbone
from velatura.models.clip import ClipEyes
from velatura.models.eyes import EfficientEyes, eyes_for
from velatura.models.perceptual import VGGTrunk, perceptual_trunk, zecon_trunk
from velatura.picture import image_to_pixels, plan_size
from velatura.style import Style
from velatura.style.pictures import pictures_of

PLAIN_TEXT = "Photo"  # what a text-guided direction leads away from (ZeCon's default)


@dataclass(frozen=True)
class Aim:
    """An objective, the content as it sees it through each of its windows, where it acts: (1, 1, h, w) in 0..1, or
    None for everywhere; and when: the part (from, to) of the run, in 0..1. ``eyes`` names the image encoder, where a
    loss has one.
    """

    objective: Objective
    contents: tuple[View, ...]
    share: Tensor | None = None
    span: tuple[float, float] = (0.0, 1.0)
    eyes: str = ""

    def content(self, step: int) -> View:
        """The content through the window whose turn it is."""
        return self.contents[step % len(self.contents)]


def statistics_of(style: Style, device: torch.device) -> StyleStatistics | None:
    """What the fit cached, on ``device``; None for a style that is a text."""
    if "colour.mean" not in style.tensors:
        return None
    tensors = {name: tensor.to(device) for name, tensor in style.tensors.items()}
    grams = {name.removeprefix("gram."): gram for name, gram in tensors.items() if name.startswith("gram.")}
    return StyleStatistics(grams, tensors["colour.mean"], tensors["colour.factor"])


@dataclass(frozen=True)
class Eyesight:
    """Whose losses they are, the CLIP and the trunk they look through, and how two texts' embeddings become a goal."""

    clip: str
    losses: Mapping[str, Callable[[Targets], Loss]]
    trunk: Callable[[Backbone], VGGTrunk]
    goal_of_text: Callable[[Tensor, Tensor], Goal]


OURS = Eyesight("clip-l", LOSSES, lambda backbone: perceptual_trunk(backbone.device, backbone.dtype), goal_of_text)
ZECONS = Eyesight("clip-b16", PUBLISHED_LOSSES, lambda backbone: zecon_trunk(backbone.device), published_goal_of_text)


def aim_at(
    style: Style,
    pixels: Tensor,
    latents: Tensor,
    weights: Mapping[str, float],
    spans: Mapping[str, tuple[float, float]],
    backbone: Backbone,
    draws: torch.Generator,
    memory: Memory,
    share: Tensor | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    ways: Eyesight = OURS,
    window: int = 0,
) -> Aim:
    """L = L_content + L_style of the poster for a content (1, 3, H, W) and its latents; everything fixed is done here.

    The feature network looks through windows of ``window`` px, one a step (0: at the whole picture).
    Raises SettingError for a loss that the style has nothing for, ModelError for a text without CLIP.
    """
    trunk, picture = ways.trunk(backbone), style_pixels(style, backbone.device, min(pixels.shape[2:]))
    looks = any(weights.get(name) for name in CLIP_LOSSES)
    eyes = eyes_for(backbone.name, backbone.device, ways.clip) if looks else None
    shape = picture.shape if picture is not None else ()
    known = (style.identity, style.card.get("text"), shape, str(backbone.device))
    goal: Goal | None = None
    if eyes is not None:
        key = ("goal", *known, eyes.source, ways.clip)
        goal = memory.recall(key, partial(goal_of, style, picture, eyes, ways))
    statistics = statistics_of(style, backbone.device)
    if picture is not None and style.card.get("features") != trunk.source:  # fitted where other weights were at hand
        statistics = memory.recall(("statistics", *known, trunk.source), partial(style_statistics, picture, trunk))
    with torch.no_grad():
        targets = Targets(View(pixels), statistics, picture, trunk, eyes, goal, draws, memory, style.identity)
        objective = make_objective(weights, targets, spans, backbone.encoded, ways.losses)
        height, width = pixels.shape[2:]
        windows = windows_over((height, width), window, torch.Generator().manual_seed(draws.initial_seed()), share)
        whole = View(pixels, {}, objective.encoded(latents, objective.terms))
        seen = (
            replace(whole, features=objective.features(one.of(pixels), objective.terms), window=one) for one in windows
        )
        return Aim(objective, tuple(seen), share, span, eyes.source if eyes else "")


def style_pixels(style: Style, device: torch.device, side: int) -> Tensor | None:
    """The style's own picture (1, 3, h, w), of the result's short ``side`` where it is no smaller; None for a text.

    At one size its strokes are as wide as those that the result is to have.
    """
    pictures = pictures_of(style)
    if not pictures:
        return None
    image = pictures[0][0]
    return image_to_pixels(image, plan_size(image.size, min(side, *image.size), 1).working).to(device)


def goal_of(style: Style, picture: Tensor | None, eyes: ClipEyes | EfficientEyes, ways: Eyesight) -> Goal:
    """What a style leads to. Raises SettingError for one in words without CLIP, whose texts they are."""
    if picture is not None:
        return goal_of_picture(picture, eyes, torch.Generator().manual_seed(0))
    text = style.card.get("text")
    if not text:
        raise SettingError(f"The style '{style.name}' was kept without its picture: fit it again.")
    if not isinstance(eyes, ClipEyes):
        raise SettingError(
            f"A style in words ('{text}') needs CLIP, which is not here: put its files into a folder 'clip' beside the "
            "model, or give a style picture."
        )
    return ways.goal_of_text(*torch.split(eyes.text([text, PLAIN_TEXT]), 1))
