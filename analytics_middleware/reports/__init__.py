"""Reports about a period and alerts on a threshold: their figures, their messages, and how these are sent."""
