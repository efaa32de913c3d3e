"""What a recording says, for people: text, Markdown, HTML, JSON and PNG of one analysis."""
