"""The front door from Python: a model, a style library, and what was computed once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from velatura.app.home import home
from velatura.errors import SettingError
from velatura.methods import Guided, Stylization, method_of
from velatura.models.catalogue import HOUSE
from velatura.models.latent import LatentBackbone
from velatura.models.loading import load_backbone
from velatura.picture import Picture, open_picture
from velatura.progress import Progress, Silent
from velatura.style import Style, StyleLibrary


class Studio:
    """Holds one model, loaded on first use, and the user's styles.

    ``model`` is a short name, folder, file or hub id; ``device`` and ``dtype`` are "auto" or a name;
    ``library_folder`` is where styles are kept (default: ``styles`` under ``VELATURA_HOME``).
    """

    def __init__(
        self,
        model: str = HOUSE,
        device: str = "auto",
        dtype: str = "auto",
        library_folder: str | Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.model, self.device, self.dtype = model, device, dtype
        self.library = StyleLibrary(Path(library_folder) if library_folder else home() / "styles")
        self.progress = progress or Silent()
        self._backbone: LatentBackbone | None = None
        self._fitted: dict[tuple[str, str], Style] = {}

    @property
    def backbone(self) -> LatentBackbone:
        """The model, loaded now if it was not yet. Raises ModelError when it cannot be."""
        if self._backbone is None:
            self._backbone = load_backbone(self.model, self.device, self.dtype)
        return self._backbone

    def fit(self, picture: str | Path | Picture, name: str = "", method: str = "guided", **settings: Any) -> Style:
        """Fit a style to a picture; it is not kept until ``library.add(style)``."""
        opened = picture if isinstance(picture, Picture) else open_picture(picture)
        return configured(method, settings).fit(opened, self.backbone, name or opened.name, self.progress)

    def style(self, style: str | Path | Style, method: Guided) -> Style:
        """A style from the library by name, or fitted to a picture now (once in this Studio's life)."""
        if isinstance(style, Style):
            return style
        if self.library.has(str(style)):
            return self.library.load(str(style))
        if not Path(style).suffix and not Path(style).exists():
            return self.library.load(str(style))
        picture = open_picture(style)
        key = (picture.digest, repr(method))
        if key not in self._fitted:
            self._fitted[key] = method.fit(picture, self.backbone, picture.name, self.progress)
        return self._fitted[key]

    def stylize(
        self,
        content: str | Path | Picture,
        style: str | Path | Style,
        seed: int = 0,
        method: str = "guided",
        **settings: Any,
    ) -> Stylization:
        """Put a style (a picture's path, a style's name, or a Style) on a content picture.

        ``settings`` are the method's own (see ``velatura.methods.guided.Guided``). The same seed, settings
        and machine give the same picture.
        """
        configuration = configured(method, settings)
        opened = content if isinstance(content, Picture) else open_picture(content)
        chosen = self.style(style, configuration)
        return configuration.stylize(opened, chosen, self.backbone, seed, self.progress)


def configured(method: str, settings: dict[str, Any]) -> Guided:
    """A method with settings. Raises SettingError for one that the method does not have."""
    cls = method_of(method)
    unknown = set(settings) - set(cls.__dataclass_fields__)
    if unknown:
        raise SettingError(
            f"The method {method} has no setting '{sorted(unknown)[0]}': it has {', '.join(cls.__dataclass_fields__)}."
        )
    return cls(**settings)
