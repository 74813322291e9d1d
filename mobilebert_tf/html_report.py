"""One self-contained HTML page of texts, tables and matplotlib figures."""

import io
from collections.abc import Sequence

import jinja2
import markupsafe

from mobilebert_tf import files

_PAGE = jinja2.Template(
    """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
       max-width: 62rem; padding: 0 1rem; color: #1b1b1f; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border-bottom: 1px solid #d8d8de; padding: .3rem .8rem;
         text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child { text-align: left; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
figure { margin: 1.5rem 0; } figure svg { max-width: 100%; height: auto; }
figcaption { color: #55555e; }
</style></head><body><h1>{{ title }}</h1>
{% for part in parts %}{{ part }}
{% endfor %}</body></html>
""",
    autoescape=True,
)
_TABLE = jinja2.Template(
    """<table><caption>{{ caption }}</caption><thead><tr>
{% for cell in header %}<th>{{ cell }}</th>{% endfor %}</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}
</tr>{% endfor %}</tbody></table>""",
    autoescape=True,
)


class HtmlReport:
    """Collects the parts of a page, in order, and writes it.

    Example:

        report = html_report.HtmlReport("SST-2")
        report.add_table("Accuracy", ["model", "dev"], [["float32", "0.91"]])
        report.write("/tmp/report.html")
    """

    def __init__(self, title: str):
        self._title = title
        self._parts = []

    def add_heading(self, text: str) -> None:
        """Adds a section heading."""
        self._add("<h2>{}</h2>", text)

    def add_text(self, text: str) -> None:
        """Adds a paragraph; `text` is escaped."""
        self._add("<p>{}</p>", text)

    def add_table(
        self, caption: str, header: Sequence, rows: Sequence[Sequence]
    ) -> None:
        """Adds a table; cells are shown with str() and escaped."""
        self._parts.append(
            markupsafe.Markup(
                _TABLE.render(caption=caption, header=header, rows=rows)
            )
        )

    def add_figure(self, caption: str, figure) -> None:
        """Adds a `matplotlib.figure.Figure` as inline SVG."""
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", bbox_inches="tight")
        svg = buffer.getvalue()
        svg = markupsafe.Markup(svg[svg.index("<svg") :])
        self._add(
            "<figure>{}<figcaption>{}</figcaption></figure>", svg, caption
        )

    def write(self, path: str) -> None:
        """Writes the page to `path`, whole or not at all."""
        page = _PAGE.render(title=self._title, parts=self._parts)
        files.write_text(path, page)

    def _add(self, template, *values):
        self._parts.append(markupsafe.Markup(template).format(*values))
