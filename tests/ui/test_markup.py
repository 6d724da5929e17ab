"""Whatever text is put into markup comes out of a parser as it was, and as text."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from appliance.ui.markup import Html, join, tag

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"))


class Parsed(HTMLParser):
    """What is in a piece of markup."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.said = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.said += data


@given(TEXT, TEXT)
def test_any_text_stays_text(content: str, attribute: str) -> None:
    """In an element, and in an attribute."""
    found = Parsed(tag("p", content, title=attribute))
    assert found.tags == [("p", [("title", attribute)])]
    assert found.said == content


def test_children_of_all_kinds() -> None:
    """Markup as it is, numbers, nothing, and several of them."""
    assert join(1, None, ["<", Html("<b>")], 2.5) == "1&lt;<b>2.5"
    assert tag("input", disabled=True, value=None, aria_label="x", for_="y", hidden=False) == (
        '<input disabled aria-label="x" for="y">'
    )
