"""The one error that a user is meant to read: what is wrong, where, and the way out."""


class LorascopeError(Exception):
    """Bad input or a bad environment, told in one line that names the file, line or key and the way out.

    The command line prints the message alone and exits with code 2; `--debug` shows the traceback.
    """
