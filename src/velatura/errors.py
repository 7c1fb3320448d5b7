"""The one family of errors a user sees: each is one sentence that says what is wrong and what to do."""


class VelaturaError(Exception):
    """Anything the user can put right; the command line prints it and exits with code 2."""


class PictureError(VelaturaError):
    """A picture cannot be opened, is unsafe to open, or cannot be written."""


class ModelError(VelaturaError):
    """A model cannot be found, reached, or loaded."""


class StyleError(VelaturaError):
    """A style cannot be found, read, or used with this model."""


class SettingError(VelaturaError):
    """A setting has a value outside its range."""
