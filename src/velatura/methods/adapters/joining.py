"""The adapters that a method's settings name, on the model for the time of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from velatura.diffusion.samplers import FEW_STEPS
from velatura.errors import ModelError, SettingError
from velatura.methods.adapters.controlling import check_control, controlnet_digest, controls, loaded_controlnet
from velatura.methods.adapters.given import GivenAdapters
from velatura.methods.adapters.loading import loaded_ip_adapter, loaded_step_lora
from velatura.methods.adapters.settings import CONTROL_DETAILS, IP_ADAPTER_DETAILS, AdapterSettings
from velatura.methods.context import RunContext
from velatura.methods.validation import changed
from velatura.models.adapters.ip_adapter import ONE_AT_A_TIME, PicturePrompt
from velatura.models.adapters.step_lora import check_step_lora, step_lora_on
from velatura.models.adapters.weights import check_finite, digest_of
from velatura.models.backbone import Adaptable, Backbone
from velatura.models.fingerprint import own_weights
from velatura.picture import open_picture
from velatura.regions import Region
from velatura.style.pictures import weighted_pictures


@contextmanager
def joined(
    settings: AdapterSettings, regions: Sequence[Region], context: RunContext[Backbone]
) -> Iterator[Mapping[str, Any]]:
    """While open, the LoRA for few steps and the IP-Adapter that ``settings`` name join the model's UNet in each
    denoising call; what acts is yielded, as manifests tell it. A ControlNet joins runs by ``controlled``.

    ``settings`` are those that ``check_adapters`` accepted. Raises SettingError where there is no picture to read.
    """
    acting: dict[str, Any] = {}
    with ExitStack() as stack:
        if settings.step_lora:
            backbone, file = adaptable(context.backbone), Path(settings.step_lora)
            lora = loaded_step_lora(file, context)
            joining = stack.enter_context(step_lora_on(backbone.unet, lora, file.name))
            stack.enter_context(backbone.joined_by([joining]))
            acting["step_lora"] = digest_of(lora)
        if reads_picture(settings, context.given):
            backbone = adaptable(context.backbone)
            prompt = picture_prompt(settings, regions, context, backbone.unet)
            stack.enter_context(backbone.joined_by([prompt]))
            acting["ip_adapter"] = prompt.fingerprint
        if controls(settings, context.given):
            network = loaded_controlnet(settings, context, adaptable(context.backbone).unet)
            acting["controlnet"] = controlnet_digest(settings, context, network)
        acting |= {name: digest for name, digest in context.given.digests().items() if acting}
        yield {"adapters": acting} if acting else {}


def check_adapters(settings: AdapterSettings, contents: int, context: RunContext[Backbone]) -> None:
    """Raise SettingError for settings that do not go together, ModelError for adapters that are missing or do not fit,
    and for a model that takes none. Adapters that are named are read, and kept in the context's cache.
    """
    given = context.given
    check_together(settings, given)
    check_few_steps(settings)
    if settings.step_lora:
        unet, file = adaptable(context.backbone).unet, Path(settings.step_lora)
        check_step_lora(unet, loaded_step_lora(file, context), file.name)
    if reads_picture(settings, given):
        unet = adaptable(context.backbone).unet
        if settings.ip_adapter_image:
            open_picture(settings.ip_adapter_image)
        if given.ip_adapter is None:
            adapter = loaded_ip_adapter(settings, context, unet)
            adapter.scales(unet, settings.ip_adapter_scale, settings.ip_adapter_blocks)
    if controls(settings, given):
        check_control(settings, given, contents)
        network = loaded_controlnet(settings, context, adaptable(context.backbone).unet)
        if given.controlnet is not None:
            check_finite(own_weights(network), "The ControlNet that was given")


def check_together(settings: AdapterSettings, given: GivenAdapters) -> None:
    """Raise SettingError for two IP-Adapters, and for details of adapters that there are none of."""
    if settings.ip_adapter and given.ip_adapter is not None:
        raise SettingError(ONE_AT_A_TIME)
    pictures = [name for name in ("ip_adapter_image", "control_image") if getattr(given, name) is not None]
    idle: list[tuple[str, str]] = []
    if not settings.ip_adapter:
        details = {*changed(settings, IP_ADAPTER_DETAILS), *pictures} & set(IP_ADAPTER_DETAILS)
        if given.ip_adapter is not None:
            details.discard("ip_adapter_image")
        idle += [(name, "the IP-Adapter whose file ip_adapter names") for name in sorted(details)]
    if not settings.controlnet and given.controlnet is None:
        details = {*changed(settings, CONTROL_DETAILS), *pictures} - set(IP_ADAPTER_DETAILS)
        idle += [(name, "the ControlNet whose folder controlnet names") for name in sorted(details)]
    for name, adapter in idle:
        raise SettingError(f"{name} acts on {adapter}: name one, or leave {name} out.")


def check_few_steps(settings: AdapterSettings) -> None:
    """Raise SettingError where a run of few steps would start from an inversion, which it cannot lead back from."""
    sampler = getattr(settings, "sampler", "")
    few = "step_lora" if settings.step_lora else f"sampler={sampler}" if sampler in FEW_STEPS else ""
    if few and settings.inverts:
        instead = f"set {settings.to_start_from_noise}" if settings.to_start_from_noise else "use --method guided"
        raise SettingError(
            f"{few} is for runs of few steps from noise, and these settings invert the photo: {instead}."
        )


def reads_picture(settings: AdapterSettings, given: GivenAdapters) -> bool:
    """Whether an IP-Adapter acts in a run."""
    if given.ip_adapter is not None:
        return any(given.ip_adapter_scales.values())
    return bool(settings.ip_adapter and settings.ip_adapter_scale)


def adaptable(backbone: Backbone) -> Adaptable:
    """The model as one that adapters can join. Raises ModelError for one that takes none."""
    if not isinstance(backbone, Adaptable):
        raise ModelError(
            f"The model {backbone.name} takes no adapters, which need a latent model with a UNet, such as Stable "
            "Diffusion 1.x or SDXL: leave ip_adapter, controlnet and step_lora out, or use another model."
        )
    return backbone


def picture_prompt(
    settings: AdapterSettings, regions: Sequence[Region], context: RunContext[Backbone], unet: Any
) -> PicturePrompt:
    """The run's picture as words."""
    given = context.given
    picture = given.ip_adapter_image
    pictures = [(picture, 1.0)] if picture is not None else pictures_to_read(settings, regions)
    if given.ip_adapter is not None:
        return given.ip_adapter.prompt(pictures, given.ip_adapter_scales)
    adapter = loaded_ip_adapter(settings, context, unet)
    return adapter.prompt(pictures, adapter.scales(unet, settings.ip_adapter_scale, settings.ip_adapter_blocks))


def pictures_to_read(settings: AdapterSettings, regions: Sequence[Region]) -> list[tuple[Image.Image, float]]:
    """The picture that is named, or those of the style with their shares of it."""
    if settings.ip_adapter_image:
        return [(open_picture(settings.ip_adapter_image).image, 1.0)]
    styles = {region.style.identity: region.style for region in regions}
    if len(styles) > 1:
        raise SettingError(
            "An IP-Adapter reads one style, and the regions have several: give them one, or name a picture for all "
            "with ip_adapter_image."
        )
    (style,) = styles.values()
    pictures = weighted_pictures(style)
    if not pictures:
        raise SettingError(
            f"The style '{style.name}' has no picture for the IP-Adapter to read: name one with ip_adapter_image."
        )
    return pictures
