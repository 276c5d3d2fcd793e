"""Requests that leave this process: secrets kept out of sight, addresses checked, answers read within bounds."""
