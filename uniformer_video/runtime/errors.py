"""What a user did wrong, told apart from what we did wrong.

Command lines catch :class:`UserError` alone, print it as one line and exit with code 2. Every other exception is a
defect of this project and shows its traceback.
"""


class UserError(ValueError):
    """A mistake in a user's configuration, file, list or command line.

    The message is one line: what is wrong, where (file and line, configuration key), what is allowed, what to do.
    Line breaks in ``message`` (for example from a library's own error text) become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class ConfigError(UserError):
    """A configuration file, key or value that cannot be used."""


class DataError(UserError):
    """An annotation file, a folder or a data set that cannot be used."""


class WeightError(UserError):
    """A weight file or checkpoint that cannot be used."""
