"""The files of the interactive page of the HTTP API: Swagger UI, out of a package and from nowhere else."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

# The package's own code, for other frameworks, is not imported.
_PACKAGE = "swagger_ui"
SWAGGER_FILES = frozenset({"swagger-ui-bundle.js", "swagger-ui.css"})
# It shows images out of its style sheet and makes HTML of Markdown: a little more than our pages may do.
API_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@cache
def swagger_file(name: str) -> bytes:
    """Return one of `SWAGGER_FILES`, read when it is first asked for."""
    spec = find_spec(_PACKAGE)
    assert spec is not None, "swagger-ui-py is one of our dependencies"
    assert spec.submodule_search_locations is not None
    return (Path(spec.submodule_search_locations[0]) / "static" / name).read_bytes()
