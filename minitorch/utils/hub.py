"""Where a published model's files are: in a local folder, or on the Hugging Face hub, downloaded once and cached."""

from __future__ import annotations

import json
import os
import re
from typing import Any

HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")  # owner/name, or a name alone as "gpt2"

USUAL = ("config.json", "tokenizer_config.json")  # a model in the cache has at least one of them


def resolve(name_or_folder: Any, filename: str) -> str:
    """The path of one of a model's files. Raises FileNotFoundError that says where it was looked for.

    A folder that exists is read as it is, without a network. Another name is a hub id, "owner/name": the file is
    downloaded by `huggingface_hub`, or found in its cache.
    """
    folder = os.path.expanduser(os.fspath(name_or_folder))
    if os.path.isdir(folder):
        path = os.path.join(folder, filename)
        if not os.path.isfile(path):
            hint = ""
            if os.path.isfile(os.path.join(folder, "adapter_config.json")):
                hint = (
                    ". That is what a method of minitorch.peft has learnt, not a model: load the model that it belongs to, and "
                    "PeftModel.from_pretrained(model, folder).merge_and_unload() is one that can be saved"
                )
            raise MissingFile(f"the folder {folder!r} has no {filename}; it holds {listing(folder)}{hint}")
        return path
    if os.path.exists(folder):
        raise NotADirectoryError(f"{folder!r} is a file: give the folder that holds it")
    if not HUB_ID.fullmatch(folder) or ".." in folder:
        raise FileNotFoundError(f"there is no folder {folder!r}, and no model on the hub has such a name (owner/name)")
    return download(folder, filename)


def find(name_or_folder: Any, filename: str) -> str | None:
    """The path of a file that a model need not have, or None. Without a network: of a model that is in the cache."""
    try:
        return resolve(name_or_folder, filename)
    except MissingFile:
        return None
    except ConnectionError:
        from huggingface_hub import try_to_load_from_cache

        if any(isinstance(try_to_load_from_cache(os.fspath(name_or_folder), name), str) for name in USUAL):
            return None
        raise


class MissingFile(FileNotFoundError):
    """The model is there; the file is not."""


def exists(name_or_folder: Any, filename: str) -> bool:
    """Whether the model has this file, without downloading it."""
    folder = os.path.expanduser(os.fspath(name_or_folder))
    if os.path.isdir(folder):
        return os.path.isfile(os.path.join(folder, filename))
    import huggingface_hub

    try:
        return huggingface_hub.file_exists(folder, filename)
    except (huggingface_hub.errors.HfHubHTTPError, OSError):
        return False


def refuse_pickle(name_or_folder: Any, pickled: str, weights: str) -> None:
    """Where a model has its weights in `pickled` only (or in such shards): an error that says how to write `weights`."""
    if not any(exists(name_or_folder, name) for name in (pickled, pickled + ".index.json")):
        return
    source, fetch = os.fspath(name_or_folder), ""
    folder = os.path.expanduser(source)
    if not os.path.isdir(folder):
        folder = source.rpartition("/")[2]
        fetch = f"    from huggingface_hub import snapshot_download\n    snapshot_download({source!r}, local_dir={folder!r})\n"
    files = os.path.join(folder, pickled.replace(".bin", "*.bin"))
    raise ValueError(
        f"{source} has its weights in {pickled} only, a pickle of Python objects. Loading one can run any code, so "
        "minitorch reads none. Convert it once, where PyTorch and safetensors are installed:\n\n"
        f"{fetch}"
        "    import glob, torch\n"
        "    from safetensors.torch import save_file\n"
        "    tensors = {}\n"
        f"    for file in glob.glob({files!r}):\n"
        '        tensors.update(torch.load(file, map_location="cpu", weights_only=True))\n'
        "    tensors = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}\n"
        f"    save_file(tensors, {os.path.join(folder, weights)!r}, metadata={{'format': 'pt'}})\n\n"
        f"and load {folder!r}"
    )


def download(hub_id: str, filename: str) -> str:
    """The path of a file of a model on the hub, in huggingface_hub's cache."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError as error:
        raise ImportError(
            f"there is no folder {hub_id!r} here; to download the model {hub_id!r} from the hub, "
            "huggingface_hub is needed: pip install minitorch[text]"
        ) from error
    try:
        return huggingface_hub.hf_hub_download(hub_id, filename)
    except errors.LocalEntryNotFoundError as error:  # before EntryNotFoundError: it is one of them
        raise ConnectionError(
            f"{filename} of {hub_id!r} is neither a local folder's nor in huggingface_hub's cache, and the hub cannot be "
            f"reached ({reason(error)}): check the network, or give the path of a folder that holds the files"
        ) from error
    except errors.EntryNotFoundError as error:
        raise MissingFile(f"the model {hub_id!r} on the hub has no {filename}") from error
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"the model {hub_id!r} is gated: accept its terms on its page, then log in with `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise FileNotFoundError(
            f"there is no folder {hub_id!r} here and no public model of this name on the hub; a private one needs "
            "`hf auth login`"
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ConnectionError(f"{filename} of {hub_id!r} cannot be downloaded: {reason(error)}") from error


def read_json(path: str) -> dict[str, Any]:
    """The object in a JSON file."""
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a JSON object, it holds a {type(values).__name__}")
    return values


def reason(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def listing(folder: str, most: int = 10) -> str:
    names = sorted(os.listdir(folder))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more
