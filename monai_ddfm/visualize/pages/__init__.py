"""Self-contained HTML pages: templates of jinja2 that extend one base.

Nothing is loaded from elsewhere, which a content security policy in the base enforces. Text is
escaped by the templates, whoever wrote it.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from monai_ddfm.utils.files import NOTICE
from monai_ddfm.utils.json_files import inside_script

__all__ = ["render"]


def render(package: str, template: str, *, data: Any, **content: Any) -> str:
    """Render a template of a package.

    Args:
        package: name of the package that holds the template and whatever it names in ``part(...)``;
            what is not there is taken from this one.
        template: name of its file.
        data: what the page's scripts find as JSON in the element ``data``.
        content: what else the template names.

    Returns:
        HTML.
    """

    def source(name: str) -> str | None:
        found = (files(place) / name for place in (package, __package__))
        return next((file.read_text(encoding="utf-8") for file in found if file.is_file()), None)

    def part(name: str) -> Markup:
        # Our own styles and scripts, not to be escaped: nothing of a user is in them.
        return Markup(source(name))

    loader = FunctionLoader(source)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    text = Markup(inside_script(data))
    return environment.get_template(template).render(data=text, part=part, notice=NOTICE, **content)
