"""Errors for the user; each message is one sentence that says what is wrong and what to do."""


class VelaturaError(Exception):
    """Base of all errors that the user can correct; the command line prints the message and exits with code 2."""


class PictureError(VelaturaError):
    """A picture cannot be opened, is unsafe to open, or cannot be written."""


class ModelError(VelaturaError):
    """A model cannot be found, reached, or loaded."""


class StyleError(VelaturaError):
    """A style cannot be found, read, or used with this model."""


class SettingError(VelaturaError):
    """A setting has a value outside its range."""


class TargetError(VelaturaError):
    """A file cannot be written where it was asked for, or would replace one that is needed."""


class StoppedError(VelaturaError):
    """A run that its caller stopped."""


LONGEST_REASON = 200  # letters of what a library says, in a sentence about it


def short_reason(error: Exception) -> str:
    """``first_line``, cut between words where it is long.

    >>> short_reason(OSError("disk full"))
    'disk full'
    """
    line = first_line(error)
    if len(line) <= LONGEST_REASON:
        return line.rstrip(".")
    return f"{line[:LONGEST_REASON].rpartition(' ')[0] or line[:LONGEST_REASON]} …"


def first_line(error: Exception) -> str:
    """The first line of what an error says, for a sentence about it; the name of its kind where it says nothing.

    >>> first_line(OSError("disk full\\nat 0x1")), first_line(KeyError())
    ('disk full', 'KeyError')
    """
    return next(iter(str(error).splitlines()), "") or type(error).__name__
