"""What analysis has found, as text, Markdown, HTML and JSON."""
