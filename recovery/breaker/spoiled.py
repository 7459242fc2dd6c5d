"""Tells an error about one key from one about Redis: something foreign under one name must not cost those who use the others."""


def is_about_one_key(error: Exception) -> bool:
    """Say whether Redis works and only what lies under a key is wrong: another type, or values that a script cannot use."""
    from redis.exceptions import ResponseError  # whoever has such an error has this

    if type(error) is not ResponseError:  # its subclasses are about the server: read-only, out of memory, no permission
        return False
    text = str(error)
    return "WRONGTYPE" in text or text.startswith("user_script")
