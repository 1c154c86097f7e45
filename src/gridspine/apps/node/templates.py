"""The device templates at hand: those that come with the node, and those in the operator's folder."""

from pathlib import Path

from gridspine.energy.templates import known_models, load_templates
from gridspine.kernel.errors import NotFound
from gridspine.things.template import Template
from gridspine.things.template_read import read_folder


def all_templates(folder: Path) -> tuple[dict[str, Template], dict[str, str]]:
    """Return all templates by name, and why files of the operator's ``folder`` are none. Blocks.

    The folder is read anew each time, so that a file put there is found; one of the same name is used instead of ours.
    """
    own, bad = read_folder(folder, known_models())
    return load_templates() | own, bad


def get_template(folder: Path, name: str) -> Template:
    """Return one template; raise `NotFound`, or say why the operator's own of this name cannot be used. Blocks."""
    found, bad = all_templates(folder)
    if name in found and name not in bad:
        return found[name]
    why = f"the operator's own is not good: {bad[name]}" if name in bad else "`GET /templates` lists them"
    raise NotFound(f"there is no template {name[:64]!r}: {why}")
