"""The pages: each turns parameters into a frozen dataclass, which is shown as HTML or sent as JSON."""
