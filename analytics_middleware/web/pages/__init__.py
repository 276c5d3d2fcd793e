"""The pages: each turns parameters into a view model, a frozen dataclass whose JSON is the page's twin."""
