"""Reports of a period and alerts on a threshold: figures, what people read of them, and how it gets to them."""
