"""How a reader refuses."""


class Refused(Exception):
    """The name of the error, as format.md has it."""


def refuse_unless(condition, error):
    if not condition:
        raise Refused(error)
