"""Makers of virtual files: requests in, bytes or Refused out. They import neither cffi nor the Supervisor."""
