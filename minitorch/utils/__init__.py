"""Around training: data loading (`data`), recomputation (`checkpoint`), files. Imported when they are used."""

from ..missing import names as _names

__getattr__ = _names(__name__, lazy=("_pytree", "checkpoint", "data", "download", "files", "hub", "tensorboard"))
